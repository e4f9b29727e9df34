"""The ScaledObjects ask for what is there: streams of the real queue, metrics of the real parts, Valkey's own address
and password; and a stream's length is what is not done, whatever the queue does with an entry.
"""

import json
import os
import re
import sys
from pathlib import Path

import pytest
import yaml

from pairs.queue import Queue
from pairs.settings import Settings
from service.metrics import Metrics
from service.pairer import _AHEAD
from tests.examples import a_candidate, a_job
from tests.k8s.rendering import Render, render
from tests.observability.promql import promtool
from tools.scaling.autoscaler import Scaling, Trigger
from tools.scaling.cluster import PARTS
from tools.scaling.manifests import documents, read_folder, scaling
from tools.scaling.measured import read
from tools.scaling.page import ENVIRONMENT, MANIFESTS, RESULTS, ROOT

BASE = ROOT / "k8s" / "base"
SCALED = [one for path in sorted(MANIFESTS.glob("*.yaml")) for one in documents(path, "ScaledObject")]
STREAMS = [one for scaled in SCALED for one in scaled["spec"]["triggers"] if one["type"] == "redis-streams"]
QUERIES = [one for scaled in SCALED for one in scaled["spec"]["triggers"] if one["type"] == "prometheus"]


async def lengths(queue: Queue, settings: Settings) -> dict[str, int]:
    """What KEDA would read of each stream that a trigger names, in the test's own namespace."""
    streams = {one["metadata"]["stream"].replace("{judgefree}", f"{{{settings.namespace}}}") for one in STREAMS}
    return {stream.rsplit(":", 1)[1]: await queue.redis.xlen(stream) for stream in streams}


def test_each_part_that_scales_has_a_scaled_object_and_it_names_a_deployment_of_the_base() -> None:
    found = {one["spec"]["scaleTargetRef"]["name"] for one in SCALED}
    deployments = {one["metadata"]["name"] for path in BASE.rglob("*.yaml") for one in documents(path, "Deployment")}

    assert found == set(PARTS)
    assert found <= deployments


def test_streams_are_in_the_namespace_of_the_settings() -> None:
    assert all(one["metadata"]["stream"].startswith("{judgefree}:") for one in STREAMS)
    assert Settings.model_fields["namespace"].default == "judgefree"


def test_valkeys_address_and_password_are_those_of_the_base() -> None:
    """From KEDA's namespace a Service is found by its own and its namespace's name."""
    services = [one for path in BASE.rglob("*.yaml") for one in documents(path, "Service")]
    [valkey] = [one for one in services if one["metadata"]["name"] == "valkey"]
    [authentication] = documents(MANIFESTS / "trigger-authentication.yaml", "TriggerAuthentication")
    [password] = authentication["spec"]["secretTargetRef"]
    gateway = next(documents(BASE / "shard" / "gateway.yaml", "Deployment"))
    [container] = gateway["spec"]["template"]["spec"]["containers"]
    read_by_the_gateway = [one.get("valueFrom", {}).get("secretKeyRef") for one in container["env"]]

    for one in STREAMS:
        host, port = one["metadata"]["address"].split(":")
        assert host == f"valkey.{authentication['metadata']['namespace']}.svc"
        assert int(port) in {each["port"] for each in valkey["spec"]["ports"]}
        assert one["authenticationRef"]["name"] == authentication["metadata"]["name"]
    assert {"name": password["name"], "key": password["key"]} in read_by_the_gateway


async def test_a_streams_length_is_what_is_not_done(queue: Queue, settings: Settings) -> None:
    await queue.admit([a_job() for _ in range(5)])
    first, second, third = await queue.take_jobs("gateway", 3, 0.1)
    assert await lengths(queue, settings) == {"jobs": 5, "candidates": 0}

    await queue.forward(first, a_candidate(first.payload))
    await queue.fail(second, "once more", may_retry=True)
    await queue.release(third)
    assert await lengths(queue, settings) == {"jobs": 4, "candidates": 1}

    for delivery in await queue.take_jobs("gateway", 8, 0.1):
        await queue.forward(delivery, a_candidate(delivery.payload))
    await queue.finish(await queue.take_candidates("verifier", 8, 0.1))
    assert await lengths(queue, settings) == {"jobs": 0, "candidates": 0}  # so that verifiers come to none


async def test_a_groups_lag_is_unknown_while_jobs_wait_so_that_no_trigger_may_ask_for_it(
    queue: Queue, settings: Settings
) -> None:
    """Of Valkey, and of Redis: an entry that is deleted at or past the group's place leaves the lag unknown."""
    await queue.admit([a_job() for _ in range(9)])
    *_, last = await queue.take_jobs("gateway", 6, 0.1)
    await queue.forward(last, a_candidate(last.payload))
    [later] = await queue.take_jobs("gateway", 1, 0.1)

    [group] = await queue.redis.xinfo_groups(f"{{{settings.namespace}}}:jobs")

    assert later.entry > last.entry
    assert group["lag"] is None
    assert await lengths(queue, settings) == {"jobs": 8, "candidates": 1}
    assert all({"consumerGroup", "lagCount"}.isdisjoint(one["metadata"]) for one in STREAMS)


def test_what_prometheus_is_asked_for_is_what_the_parts_say() -> None:
    ours = {
        f"{family.name}_total" if family.type == "counter" else family.name for family in Metrics().registry.collect()
    }
    asked = {name for one in QUERIES for name in re.findall(r"([\w:]+)\{", one["metadata"]["query"])}
    vllms = {name for name in asked if name.startswith("vllm:")}

    assert asked - vllms == {"judgefree_pairs_admitted_total", "judgefree_pairs_generated_total", "judgefree_queue_lag"}
    assert asked - vllms <= ours
    assert vllms == {"vllm:num_requests_running", "vllm:num_requests_waiting"}
    assert all(f'"{name}"' in source_of_vllms_metrics() for name in vllms)


def source_of_vllms_metrics() -> str:
    """Read, not imported: the name is all that is wanted."""
    [found] = (path for folder in sys.path for path in Path(folder).glob("vllm/v1/metrics/loggers.py"))
    return found.read_text(encoding="utf-8")


def test_prometheus_understands_the_queries(tmp_path: Path) -> None:
    records = [{"record": f"query:{at}", "expr": one["metadata"]["query"]} for at, one in enumerate(QUERIES)]
    rules = tmp_path / "rules.yaml"
    rules.write_text(json.dumps({"groups": [{"name": "keda", "rules": records}]}), encoding="utf-8")

    promtool("check", "rules", rules)


def test_no_arrivals_known_is_an_error_and_not_nothing_so_that_none_is_taken_away() -> None:
    rates = [one["metadata"] for one in QUERIES if one["name"] in ("admitted", "generated")]

    assert len(rates) == len(PARTS)
    assert all(one["ignoreNullValues"] == "false" for one in rates)


def test_what_is_taken_beyond_generation_is_what_the_gateway_takes() -> None:
    assert read(RESULTS, ENVIRONMENT).capacity.ahead == _AHEAD


def test_what_a_verifier_holds_is_what_it_takes() -> None:
    from workers.clip.verifier import _BATCHES  # torch takes seconds

    assert read(RESULTS, ENVIRONMENT).capacity.held == _BATCHES * Settings.model_fields["batch_size"].default


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Render:
    """The base's shard with the component, and all names with a suffix."""
    folder = tmp_path_factory.mktemp("overlay")
    (folder / "scaled").mkdir()
    near = {
        name: os.path.relpath(ROOT / "k8s" / name, (folder / "scaled").resolve()) for name in ("base", "components")
    }
    inner = {"resources": [f"{near['base']}/shard"], "components": [f"{near['components']}/keda"]}
    (folder / "scaled" / "kustomization.yaml").write_text(yaml.safe_dump(inner), encoding="utf-8")
    outer = {"resources": ["scaled"], "nameSuffix": "-b"}
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(outer), encoding="utf-8")
    return render(folder, "the shard with a suffix")


def test_with_the_component_no_deployment_that_scales_has_replicas_of_its_own(rendered: Render) -> None:
    assert rendered.names("Deployment") == {f"{part}-b" for part in PARTS}
    assert all("replicas" not in one["spec"] for one in rendered.of("Deployment"))


def test_a_suffix_of_an_overlay_reaches_the_names_that_scaled_objects_use(rendered: Render) -> None:
    scaled = rendered.of("ScaledObject")
    used = {
        one["authenticationRef"]["name"]
        for each in scaled
        for one in each["spec"]["triggers"]
        if "authenticationRef" in one
    }

    assert {one["spec"]["scaleTargetRef"]["name"] for one in scaled} == {f"{part}-b" for part in PARTS}
    assert used == {"valkey-b"}


def test_a_scaled_object_is_read_as_it_stands() -> None:
    found = read_folder(MANIFESTS)["verifier"]
    [generated, candidates] = found.triggers

    assert isinstance(found, Scaling)
    assert (found.least, found.most, found.polling_s, found.cooldown_s) == (0, 4, 15, 600)
    assert (found.up.window_s, found.down.window_s) == (0, 600)
    assert generated == Trigger("generated", 120, 0, over_s=120)
    assert candidates == Trigger("candidates", 4600)
    assert read_folder(MANIFESTS)["mllm"].triggers[-1] == Trigger("filled", 0.9, 0, over_s=120)


def test_a_trigger_that_is_not_simulated_is_said_and_not_left_out() -> None:
    cron = {"type": "cron", "metadata": {"start": "0 8 * * *"}}

    with pytest.raises(ValueError, match="cron"):
        scaling({"spec": {"scaleTargetRef": {"name": "mllm"}, "triggers": [cron]}})
