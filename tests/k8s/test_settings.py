"""Each variable of a manifest is a setting or a known foreign one; what a part needs is set, and the part takes it."""

import re
from urllib.parse import urlsplit

import pytest

from pairs.settings import ENV_PREFIX, Settings, load_settings
from tests.k8s.conftest import Rendered
from tests.k8s.documented import table
from tests.k8s.flows import NEEDS, service_ends
from tests.k8s.rendering import Object, Pod, Render, environment, replicas, where
from tests.k8s.secrets import values
from tools.architecture import LLAVA_7B
from tools.memory import CARDS, pairs_that_fit

FOREIGN = {
    "AWS_ACCESS_KEY_ID": "botocore, under s3fs",
    "AWS_SECRET_ACCESS_KEY": "botocore, under s3fs",
    "AWS_DEFAULT_REGION": "botocore, under s3fs",
    "AWS_EC2_METADATA_DISABLED": "botocore: never the node's own credentials",
    "GATEWAY_URL": "the load test's script",
    "HF_HOME": "huggingface_hub: where models lie",
    "HF_HUB_OFFLINE": "huggingface_hub: what is not there is not asked for",
    "HF_TOKEN": "huggingface_hub: for models behind a licence",
    "OMP_NUM_THREADS": "OpenMP, under torch",
    "PGDATA": "the image of PostgreSQL",
    "POSTGRES_DB": "the image of PostgreSQL",
    "POSTGRES_PASSWORD": "the image of PostgreSQL",
    "POSTGRES_USER": "the image of PostgreSQL",
    "PROFILE": "the load test's script",
    "REDISCLI_AUTH": "valkey-cli",
    "VALKEY_HOST": "redis_url is made of it",
    "VALKEY_PASSWORD": "redis_url is made of it",
    "VLLM_CPU_OMP_THREADS_BIND": "vLLM's build for CPUs",
}
"""Whose each variable is that is no setting."""
_NEEDED_BESIDE = {
    "gateway": ("host", "data_dir", "api_keys", "namespace", "model"),
    "verifier": ("host", "data_dir", "clip", "namespace"),
    "mllm": ("model", "max_lora_rank"),
    "trainer": ("data_dir", "model"),
    "loadtest": ("api_keys",),
    "loadtest-worker": ("api_keys",),
}


def _containers(render: Render) -> list[tuple[Pod, Object, dict[str, str]]]:
    return [(pod, one, environment(render, pod, one)) for pod in render.pods for one in pod.containers]


def test_each_variable_is_a_setting_or_a_foreign_one(each: Render) -> None:
    settings = {f"{ENV_PREFIX}{name.upper()}" for name in Settings.model_fields}
    named = {name for _, _, variables in _containers(each) for name in variables}
    assert named - settings - set(FOREIGN) == set()


def test_no_foreign_variable_is_listed_that_is_nowhere(rendered: Rendered) -> None:
    everything = [rendered(name) for name in ("kind-cpu + all that can be added", "gpu", "gpu-large")]
    assert set(FOREIGN) == {
        name for render in everything for _, _, found in _containers(render) for name in found if name in FOREIGN
    }


def test_what_a_part_needs_is_set(each: Render) -> None:
    for pod in each.pods:
        variables = environment(each, pod, pod.spec["containers"][0])
        needed = (*NEEDS[pod.component], *_NEEDED_BESIDE.get(pod.component, ()))
        assert [name for name in needed if not variables.get(f"{ENV_PREFIX}{name.upper()}")] == [], pod.owner


def test_a_part_takes_its_settings(each: Render, monkeypatch: pytest.MonkeyPatch) -> None:
    known = values(each)
    for _, _, variables in _containers(each):
        with monkeypatch.context() as patched:
            for name, value in variables.items():
                told = re.sub(r"<[\w.-]+>", lambda found: known.get(found[0], "unknown"), value)
                patched.setenv(name, told)
            load_settings()


def test_clients_are_told_a_gateway_that_is_there(each: Render) -> None:
    for pod, _, variables in _containers(each):
        if pod.owner == "CronJob/improve" and "JUDGEFREE_HOST" in variables:
            host, port = variables["JUDGEFREE_HOST"], int(variables["JUDGEFREE_PORT"])
            assert {each.pod(owner).component for owner, _ in service_ends(each, host, port)} == {"gateway"}
            url = urlsplit(variables["JUDGEFREE_MLLM_URL"])
            ends = service_ends(each, url.hostname or "", url.port or 0)
            assert {each.pod(owner).component for owner, _ in ends} == {"mllm"}
        if "GATEWAY_URL" in variables:
            url = urlsplit(variables["GATEWAY_URL"])
            ends = service_ends(each, url.hostname or "", url.port or 0)
            assert {each.pod(owner).component for owner, _ in ends} == {"gateway"}


def test_every_expansion_has_something_to_expand(each: Render) -> None:
    for pod, container, variables in _containers(each):
        said = [*variables.values(), *container.get("args", [])]
        said += [] if "sh" in container.get("command", []) else container.get("command", [])
        left = {name for text in said for name in re.findall(r"\$\((\w+)\)", text)}
        assert left - set(variables) - {"JOB_COMPLETION_INDEX"} == set(), pod.owner
        assert [name for name, value in variables.items() if "$(" in value] == [], pod.owner


def test_secrets_are_in_nothing_else(each: Render) -> None:
    """Of kind's, the two forms of the database's password agree."""
    known = values(each)
    plain = str([one for one in each.objects if one["kind"] != "Secret"])
    assert not [name for name, value in known.items() if len(value) > 6 and value in plain and value != "judgefree"]
    if each.of("Secret"):
        assert f":{known['<judgefree.database-password>']}@" in known["<judgefree.database-url>"]


def test_threads_are_no_more_than_cores(each: Render) -> None:
    for pod, container, variables in _containers(each):
        if "OMP_NUM_THREADS" in variables:
            assert int(variables["OMP_NUM_THREADS"]) <= int(container["resources"]["limits"]["cpu"]), pod.owner


def test_vllm_on_cpus_has_threads_and_binds_none(each: Render) -> None:
    for pod, container, variables in _containers(each):
        if container["image"].startswith("judgefree/mllm-cpu") and container in pod.spec["containers"]:
            assert variables["VLLM_CPU_OMP_THREADS_BIND"] == "nobind"
            assert variables["OMP_NUM_THREADS"] == container["resources"]["limits"]["cpu"]


def test_the_gateways_fill_a_vllm_and_do_not_overfill_it(each: Render) -> None:
    """As few of them as there may be, and as many; a pair is three requests."""
    [settings] = [one["data"] for one in each.of("ConfigMap") if one["metadata"]["name"].startswith("settings")]
    concurrency = int(settings["JUDGEFREE_PAIRER_CONCURRENCY"])
    seats = int(settings.get("JUDGEFREE_MAX_NUM_SEQS", Settings.model_fields["max_num_seqs"].default))
    gateways = [one for one in each.of("Deployment") if where(one).startswith("Deployment/gateway")]
    assert gateways
    for gateway in gateways:
        fewest, most = replicas(gateway, each.of("ScaledObject"))
        assert 3 * fewest * concurrency > seats / 2
        assert 3 * most * concurrency <= seats


GPU_OVERLAYS = ("gpu", "gpu-large")
_CARD = "80 GB"
"""The GPU that they are set for: docs/deployment.md."""


@pytest.mark.parametrize("name", GPU_OVERLAYS)
def test_the_kv_cache_of_its_gpu_holds_a_pair_for_every_place(name: str, rendered: Rendered) -> None:
    [settings] = [
        one["data"] for one in rendered(name).of("ConfigMap") if one["metadata"]["name"].startswith("settings")
    ]
    assert settings["JUDGEFREE_MODEL"] == "llava-hf/llava-1.5-7b-hf"
    rank, answer = int(settings["JUDGEFREE_MAX_LORA_RANK"]), int(settings["JUDGEFREE_MAX_TOKENS"])
    fitting = pairs_that_fit(LLAVA_7B, int(CARDS[_CARD][0] * 1e9), rank, answer)
    assert fitting / 2 < int(settings["JUDGEFREE_MAX_NUM_SEQS"]) / 3 <= fitting


def test_the_page_says_what_fits_on_other_gpus(rendered: Rendered) -> None:
    shipped = rendered("gpu")
    [settings] = [one["data"] for one in shipped.of("ConfigMap") if one["metadata"]["name"].startswith("settings")]
    [most] = [replicas(one, shipped.of("ScaledObject"))[1] for one in shipped.of("Deployment")
              if where(one) == "Deployment/gateway"]  # fmt: skip
    rows = {row[0]: [int(cell) for cell in row[1:]] for row in table("GPU")}
    names = ("JUDGEFREE_PAIRER_CONCURRENCY", "JUDGEFREE_MAX_NUM_SEQS", "JUDGEFREE_MAX_LORA_RANK")
    assert rows.keys() == CARDS.keys()
    assert rows[_CARD] == [*(int(settings[name]) for name in names), most]
    for card, (concurrency, seats, rank, gateways) in rows.items():
        gb, largest_rank = CARDS[card]
        assert rank == largest_rank
        assert gateways * concurrency * 3 == seats
        assert seats / 3 <= pairs_that_fit(LLAVA_7B, int(gb * 1e9), rank, int(settings["JUDGEFREE_MAX_TOKENS"]))
