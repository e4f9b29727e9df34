"""Probes ask what is there, and a pod has the time to end that its code takes; figures are held against the code."""

import ast
import inspect
import io
import re
from functools import cache
from urllib.parse import urlsplit

import numpy as np
import pytest
from PIL import Image

from pairs.settings import Settings, load_settings
from service import __main__ as gateway_program
from service.admission import MAX_WAIT_S
from service.images import normalise
from service.pairer import _AHEAD, Pairer
from service.routes import open_api
from service.watch import _LOOK_UP_S
from tests.k8s.conftest import Rendered
from tests.k8s.flows import needed
from tests.k8s.rendering import ROOT, Pod, Render, environment, replicas, where
from tests.k8s.secrets import values

_DNS_CACHE_S = 30
"""How long CoreDNS, as it comes, gives an answer that it knows."""
_UNITS = {"": 1, "Mi": 2**20, "Gi": 2**30}


def _bytes(quantity: str) -> int:
    [(number, unit)] = re.findall(r"^(\d+)(Mi|Gi|)$", quantity)
    return int(number) * _UNITS[unit]


def _constant(file: str, name: str) -> float:
    """A number of a module that is not imported for it: torch takes seconds."""
    for node in ast.parse((ROOT / file).read_text()).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name:
            return float(ast.literal_eval(node.value))
    raise LookupError(f"{file} has no {name}")


def _drain_s(pod: Pod) -> int:
    return int(pod.spec["containers"][0].get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0))


def test_a_gateway_has_the_time_to_drain(each: Render) -> None:
    grace_s = inspect.signature(Pairer.__init__).parameters["grace_s"].default
    for pod in each.pods_of("gateway"):
        takes_s = _drain_s(pod) + gateway_program._DRAIN_S + grace_s
        assert _drain_s(pod) >= 5
        assert pod.spec["terminationGracePeriodSeconds"] >= takes_s + 5


def test_a_verifier_has_the_time_to_settle_what_it_holds(each: Render) -> None:
    for pod in each.pods_of("verifier"):
        assert pod.spec["terminationGracePeriodSeconds"] >= _constant("workers/clip/verifier.py", "_IMAGES_AWAY_S") + 15


def test_a_vllm_goes_from_dns_before_it_ends(each: Render) -> None:
    for pod in each.pods_of("mllm"):
        assert _drain_s(pod) >= _DNS_CACHE_S + _LOOK_UP_S
        assert pod.spec["terminationGracePeriodSeconds"] >= _drain_s(pod) + 30


@pytest.mark.parametrize(
    ("component", "ready", "alive"),
    [("gateway", "/readyz", "/healthz"), ("verifier", "/readyz", "/healthz"), ("mllm", "/health", "/health")],
)
def test_probes_ask_what_they_mean(component: str, ready: str, alive: str, each: Render) -> None:
    for pod in each.pods_of(component):
        container = pod.spec["containers"][0]
        paths = {name: container[f"{name}Probe"]["httpGet"]["path"] for name in ("startup", "readiness", "liveness")}
        assert paths == {"startup": alive, "readiness": ready, "liveness": alive}
        liveness = container["livenessProbe"]
        assert liveness["failureThreshold"] * liveness["periodSeconds"] >= 60, "a busy process is not a dead one"


def test_the_asked_paths_are_served() -> None:
    assert {"/readyz", "/healthz"} <= {getattr(route, "path", "") for route in open_api.routes}
    assert {"/readyz", "/healthz"} <= set(re.findall(r'case "(/\w+)"', (ROOT / "workers/clip/health.py").read_text()))
    assert '"/health"' in (ROOT / "service/mllm.py").read_text()


def test_ports_are_those_of_the_settings(each: Render) -> None:
    fields = Settings.model_fields
    for component, field in (("gateway", "port"), ("verifier", "verifier_port"), ("mllm", "mllm_port")):
        for pod in each.pods_of(component):
            assert list(pod.ports()) == [fields[field].default]


@cache
def _largest_png(side: int) -> int:
    """What an image of that side takes at most: noise, which nothing makes smaller."""
    pixels = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return len(normalise(buffer.getvalue(), side**2, side).content)


def _in_generation(settings: Settings, vllms: int) -> int:
    """Bytes of the pairs in a gateway's hands: each has its image, one with noise beside it, and a mebibyte that is on
    its way. Two images are mixed with noise at a time, at 48 bytes a pixel.
    """
    pairs = settings.pairer_concurrency * vllms + _AHEAD
    return pairs * (2 * _largest_png(settings.max_image_side) + 2**20) + 2 * 48 * settings.max_image_side**2


def test_a_gateways_memory_holds_its_bodies_two_images_and_its_pairs(
    each: Render, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four times max_request_bytes of bodies, two images in decoding, each four bytes a pixel, twice; and the pairs in
    generation at as many vLLMs as there may be.
    """
    gateway = each.pods_of("gateway")[0]
    for name, value in environment(each, gateway, gateway.spec["containers"][0]).items():
        if "<" not in value:
            monkeypatch.setenv(name, value)
    settings = load_settings()
    fixed = 4 * settings.max_request_bytes + 2 * 2 * 4 * settings.max_image_pixels + 256 * 2**20
    most = {where(one): replicas(one, each.of("ScaledObject"))[1] for one in each.of("Deployment")}
    for pod in each.pods_of("gateway"):
        needed = fixed + _in_generation(settings, most[pod.owner.replace("gateway", "mllm")])
        assert needed <= _bytes(pod.spec["containers"][0]["resources"]["limits"]["memory"]), pod.owner


def test_the_pages_say_what_a_pair_takes_of_a_gateways_memory() -> None:
    pair = (2 * _largest_png(Settings.model_fields["max_image_side"].default) + 2**20) / 1e6
    for page in ("deployment", "operations"):
        [told] = re.findall(r"up to (\d+) MB a pair", " ".join((ROOT / "docs" / f"{page}.md").read_text().split()))
        assert int(told) - 1 < pair <= int(told), page


def test_the_ingress_takes_what_the_gateway_takes(rendered: Rendered) -> None:
    for name in ("gpu", "gpu-large"):
        render = rendered(name)
        [settings] = [one["data"] for one in render.of("ConfigMap") if one["metadata"]["name"].startswith("settings")]
        for ingress in render.of("Ingress"):
            annotations = ingress["metadata"]["annotations"]
            taken = annotations["nginx.ingress.kubernetes.io/proxy-body-size"]
            assert taken == settings["JUDGEFREE_MAX_REQUEST_BYTES"]
            assert int(annotations["nginx.ingress.kubernetes.io/proxy-read-timeout"]) > MAX_WAIT_S


def test_shared_memory_counts_on_the_limit(each: Render) -> None:
    for pod in each.pods:
        shared = [one["emptyDir"] for one in pod.spec.get("volumes", []) if "medium" in one.get("emptyDir", {})]
        for one in shared:
            assert one["medium"] == "Memory"
            limit = _bytes(pod.spec["containers"][0]["resources"]["limits"]["memory"])
            assert _bytes(one["sizeLimit"]) <= limit / 2


def test_vllm_and_the_trainer_have_shared_memory(each: Render) -> None:
    for pod in (*each.pods_of("mllm"), *each.pods_of("trainer")):
        assert "/dev/shm" in {mount["mountPath"] for mount in pod.spec["containers"][0]["volumeMounts"]}


def test_vllm_finds_adapters_where_the_trainer_has_them(each: Render) -> None:
    """What is registered for an adapter is its absolute folder."""
    places = {
        (mount["mountPath"], volume["persistentVolumeClaim"]["claimName"])
        for pod in (*each.pods_of("mllm"), *each.pods_of("trainer"))
        for volume in pod.spec["volumes"]
        for mount in pod.spec["containers"][0]["volumeMounts"]
        if volume["name"] == mount["name"] == "training"
    }
    assert places == {("/data", "training")}
    [settings] = [one["data"] for one in each.of("ConfigMap") if one["metadata"]["name"].startswith("settings")]
    assert settings["JUDGEFREE_DATA_DIR"] == "/data"
    assert int(settings["JUDGEFREE_MAX_LORA_RANK"]) > 0


def test_the_gateway_finds_every_vllm(each: Render) -> None:
    """A headless Service: its name has the addresses of all replicas. Another one keeps a client on one of them."""
    for service in each.of("Service"):
        if service["metadata"]["name"].startswith("mllm-one"):
            assert service["spec"]["sessionAffinity"] == "ClientIP"
        elif service["metadata"]["labels"]["app.kubernetes.io/component"] in ("mllm", "valkey"):
            assert service["spec"]["clusterIP"] == "None"
    flows = needed(each, values(each))
    for pod in each.pods_of("gateway"):
        assert [target for source, target, port in flows if (source, port) == (pod.owner, 8000)]


def test_a_run_of_improvement_asks_one_vllm(each: Render) -> None:
    """It loads an adapter, and then asks for it."""
    for pod in each.pods:
        if pod.owner == "CronJob/improve":
            [container] = pod.spec["containers"]
            url = urlsplit(environment(each, pod, container)["JUDGEFREE_MLLM_URL"])
            assert (url.hostname or "").startswith("mllm-one")


def test_a_vllm_that_is_being_replaced_leaves_its_gpu(rendered: Rendered) -> None:
    for one in rendered("gpu").of("Deployment"):
        has_gpu = "nvidia.com/gpu" in str(one["spec"]["template"])
        assert one["spec"]["strategy"]["rollingUpdate"] == (
            {"maxSurge": 0, "maxUnavailable": 1} if has_gpu else {"maxSurge": 1, "maxUnavailable": 0}
        )


def test_gpus_are_asked_for_where_models_run(rendered: Rendered) -> None:
    for name in ("gpu", "gpu-large"):
        for pod in rendered(name).pods:
            limits = pod.spec["containers"][0]["resources"]["limits"]
            assert ("nvidia.com/gpu" in limits) == (pod.component in ("mllm", "verifier", "trainer"))
            tolerated = {one["key"] for one in pod.spec.get("tolerations", [])}
            assert ("nvidia.com/gpu" in limits) == ("nvidia.com/gpu" in tolerated)
    assert not any("nvidia.com/gpu" in str(pod.spec) for pod in rendered("kind-cpu").pods)


def test_nothing_trains_by_itself(each: Render) -> None:
    for one in each.of("CronJob", "JobSet"):
        assert one["spec"]["suspend"] is True
