"""Shards share the store, the images and the models, and nothing else; replicas are KEDA's."""

import re

import pytest

from tests.k8s.conftest import Rendered
from tests.k8s.flows import allowed, service_ends
from tests.k8s.rendering import Object, Pod, Render, environment

SHARD = "judgefree.io/shard"


@pytest.fixture(name="large")
def gpu_large(rendered: Rendered) -> Render:
    return rendered("gpu-large")


def _shards(render: Render) -> dict[str, list[Pod]]:
    found: dict[str, list[Pod]] = {}
    for pod in render.pods:
        if SHARD in pod.labels:
            found.setdefault(pod.labels[SHARD], []).append(pod)
    return found


def test_every_shard_has_its_own_of_everything_that_moves_pairs(large: Render) -> None:
    shards = _shards(large)
    assert len(shards) >= 2
    for pods in shards.values():
        assert sorted(pod.component for pod in pods) == ["gateway", "mllm", "valkey", "verifier"]
    assert {pod.component for pod in large.pods if SHARD not in pod.labels} == {"migrate", "trainer", "pull-models"}


def test_shards_do_not_speak_to_each_other(large: Render) -> None:
    shard_of = {pod.owner: shard for shard, pods in _shards(large).items() for pod in pods}
    let = allowed(large, "Egress") | allowed(large, "Ingress")
    within = [flow for flow in let if flow[0] in shard_of and flow[1] in shard_of]
    assert within
    assert [flow for flow in within if shard_of[flow[0]] != shard_of[flow[1]]] == []


def test_shards_have_names_of_their_own(large: Render) -> None:
    seen = [
        (variables["JUDGEFREE_NAMESPACE"], variables["JUDGEFREE_MLLM_URL"], variables["JUDGEFREE_REDIS_URL"])
        for pod in large.pods_of("gateway")
        for variables in [environment(large, pod, pod.spec["containers"][0])]
    ]
    for column in zip(*seen, strict=True):
        assert len(set(column)) == len(seen)
    hosts = [rule["host"] for one in large.of("Ingress") for rule in one["spec"]["rules"]]
    secrets = [tls["secretName"] for one in large.of("Ingress") for tls in one["spec"]["tls"]]
    assert len(set(hosts)) == len(set(secrets)) == len(seen)


def test_keda_looks_at_the_streams_of_the_shard_that_it_scales(each: Render) -> None:
    pods = {pod.owner: pod for pod in each.pods}
    for one in each.of("ScaledObject"):
        scaled = pods[f"Deployment/{one['spec']['scaleTargetRef']['name']}"]
        shard = scaled.labels.get(SHARD)
        gateway = next(pod for pod in each.pods_of("gateway") if pod.labels.get(SHARD) == shard)
        namespace = environment(each, gateway, gateway.spec["containers"][0])["JUDGEFREE_NAMESPACE"]
        for trigger in one["spec"]["triggers"]:
            said = trigger["metadata"]
            if trigger["type"] == "redis-streams":
                host, _, port = said["address"].partition(":")
                assert {pods[owner].labels.get(SHARD) for owner, _ in service_ends(each, host, int(port))} == {shard}
                assert said["stream"] in (f"{{{namespace}}}:jobs", f"{{{namespace}}}:candidates")
            elif shard is not None:
                assert f'judgefree_io_shard="{shard}"' in said["query"]


def test_a_shard_is_scaled_by_the_queries_of_the_component(large: Render, rendered: Rendered) -> None:
    whole = {query for one in rendered("gpu").of("ScaledObject") for query in _queries(one)}
    queries = {query for one in large.of("ScaledObject") for query in _queries(one)}
    assert {re.sub(r', judgefree_io_shard="\w+"', "", query) for query in queries} == whole


def _queries(scaled: Object) -> list[str]:
    return [one["metadata"]["query"] for one in scaled["spec"]["triggers"] if one["type"] == "prometheus"]


def test_what_keda_scales_has_no_replicas_of_its_own(each: Render) -> None:
    scaled = {one["spec"]["scaleTargetRef"]["name"] for one in each.of("ScaledObject")}
    for one in each.of("Deployment"):
        assert ("replicas" in one["spec"]) != (one["metadata"]["name"] in scaled)


def test_a_training_over_nodes_agrees_with_itself(large: Render) -> None:
    [jobset] = large.of("JobSet")
    [replicated] = jobset["spec"]["replicatedJobs"]
    job = replicated["template"]["spec"]
    container = job["template"]["spec"]["containers"][0]
    flags = dict(re.findall(r"^--([\w-]+)=(.*)$", "\n".join(container["command"]), re.MULTILINE))
    nodes, name = job["parallelism"], jobset["metadata"]["name"]
    assert job["completions"] == int(flags["num_machines"]) == nodes
    assert int(flags["num_processes"]) == nodes * container["resources"]["limits"]["nvidia.com/gpu"]
    assert flags["main_process_ip"] == f"{name}-{replicated['name']}-0-0.{name}"
    assert [int(flags["main_process_port"])] == [port["containerPort"] for port in container["ports"]]
    assert flags["machine_rank"] == "$(JOB_COMPLETION_INDEX)"
    assert job["completionMode"] == "Indexed"
    assert flags["name"], "a run without a name does not go on where it was broken off"
