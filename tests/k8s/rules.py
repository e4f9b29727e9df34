"""What a careful operator asks of manifests: pure functions from a render to what is wrong with it.

The restricted Pod Security Standard, and the rules of kube-linter and checkov that say something here.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tests.k8s.flows import SOLVER
from tests.k8s.rendering import Object, Pod, Render, where
from tests.k8s.selecting import matches


@dataclass(frozen=True, order=True)
class Complaint:
    """What is wrong, and where: KIND/NAME, with the container's name where it is one's."""

    rule: str
    place: str


Rule = Callable[[Render], Iterator[str]]
"""Yields the places at which it is not kept."""

RULES: dict[str, Rule] = {}
_RESTRICTED_VOLUMES = {
    "configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret",
}  # fmt: skip


def complaints(render: Render) -> list[Complaint]:
    return [Complaint(name, place) for name, rule in RULES.items() for place in rule(render)]


def _rule(rule: Rule) -> Rule:
    RULES[rule.__name__] = rule
    return rule


def _pods(is_kept: Callable[[Pod], bool]) -> Rule:
    return lambda render: (pod.owner for pod in render.pods if not is_kept(pod))


def _containers(is_kept: Callable[[Pod, Object], bool]) -> Rule:
    return lambda render: (
        f"{pod.owner}/{container['name']}"
        for pod in render.pods
        for container in pod.containers
        if not is_kept(pod, container)
    )


def _own(container: Object) -> Object:
    found: Object = container.get("securityContext", {})
    return found


def _effective(pod: Pod, container: Object, field: str) -> object:
    """The container's own word, else the pod's."""
    return _own(container).get(field, pod.spec.get("securityContext", {}).get(field))


def _wants(container: Object, resource: str, side: str) -> bool:
    return resource in container.get("resources", {}).get(side, {})


RULES |= {
    # The restricted Pod Security Standard
    "no_host_namespaces": _pods(lambda pod: not any(pod.spec.get(f"host{what}") for what in ("Network", "PID", "IPC"))),
    "no_host_process": _containers(lambda pod, one: not _effective(pod, one, "windowsOptions")),
    "not_privileged": _containers(lambda _, one: not _own(one).get("privileged")),
    "no_privilege_escalation": _containers(lambda _, one: _own(one).get("allowPrivilegeEscalation") is False),
    "all_capabilities_dropped": _containers(lambda _, one: _own(one).get("capabilities") == {"drop": ["ALL"]}),
    "no_host_ports": _containers(lambda _, one: not any(port.get("hostPort") for port in one.get("ports", []))),
    "restricted_volumes": _pods(
        lambda pod: all(set(volume) - {"name"} <= _RESTRICTED_VOLUMES for volume in pod.spec.get("volumes", []))
    ),
    "not_root": _containers(lambda pod, one: _effective(pod, one, "runAsNonRoot") is True),
    "user_is_not_root": _containers(lambda pod, one: _effective(pod, one, "runAsUser") not in (None, 0)),
    "seccomp": _containers(lambda pod, one: _effective(pod, one, "seccompProfile") == {"type": "RuntimeDefault"}),
    "no_sysctls": _pods(lambda pod: not pod.spec.get("securityContext", {}).get("sysctls")),
    # Beyond it
    "high_user_id": _containers(lambda pod, one: int(str(_effective(pod, one, "runAsUser") or 0)) >= 10_000),
    "read_only_root": _containers(lambda _, one: _own(one).get("readOnlyRootFilesystem") is True),
    "no_token": _pods(lambda pod: pod.spec.get("automountServiceAccountToken") is False),
    "own_service_account": _pods(lambda pod: pod.spec.get("serviceAccountName", "default") != "default"),
    # A Service `judgefree-mllm` would set the setting mllm_port, to tcp://...
    "no_service_links": _pods(lambda pod: pod.spec.get("enableServiceLinks") is False),
    "cpu_request": _containers(lambda _, one: _wants(one, "cpu", "requests")),
    "cpu_limit": _containers(lambda _, one: _wants(one, "cpu", "limits")),
    "memory_request": _containers(lambda _, one: _wants(one, "memory", "requests")),
    "memory_limit": _containers(lambda _, one: _wants(one, "memory", "limits")),
    "liveness_probe": _containers(lambda pod, one: not _serves(pod, one) or "livenessProbe" in one),
    "readiness_probe": _containers(lambda pod, one: not _serves(pod, one) or "readinessProbe" in one),
    "startup_probe": _containers(lambda pod, one: not _serves(pod, one) or "startupProbe" in one),
    "image_has_a_version": _containers(lambda _, one: _version(one["image"]) not in ("", "latest")),
    "image_by_digest": _containers(lambda _, one: "@sha256:" in one["image"]),
    "image_always_pulled": _containers(lambda _, one: one.get("imagePullPolicy") == "Always"),
    "secrets_as_files": _containers(
        lambda _, one: not any("secretKeyRef" in env.get("valueFrom", {}) for env in one.get("env", []))
    ),
    "temporary_folders_are_bounded": _pods(
        lambda pod: all("sizeLimit" in one["emptyDir"] for one in pod.spec.get("volumes", []) if "emptyDir" in one)
    ),
    "spread_over_nodes": _pods(lambda pod: pod.kind != "Deployment" or "topologySpreadConstraints" in pod.spec),
}


def _serves(pod: Pod, container: Object) -> bool:
    return pod.runs_for_ever and container in pod.spec["containers"]


def _version(image: str) -> str:
    return image.rpartition("/")[2].partition("@")[0].partition(":")[2]


@_rule
def namespace_is_restricted(render: Render) -> Iterator[str]:
    for one in render.of("Namespace"):
        if one["metadata"].get("labels", {}).get("pod-security.kubernetes.io/enforce") != "restricted":
            yield where(one)


@_rule
def everything_is_denied_first(render: Render) -> Iterator[str]:
    policies = [one["spec"] for one in render.of("NetworkPolicy")]
    if {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]} not in policies:
        yield "NetworkPolicy"


@_rule
def no_empty_peers(render: Render) -> Iterator[str]:
    """Neither a rule without peers, which means all, nor a namespace of any name."""
    for one in render.of("NetworkPolicy"):
        rules = [*one["spec"].get("ingress", []), *one["spec"].get("egress", [])]
        peers = [peer for rule in rules for peer in (rule.get("from") or rule.get("to") or [{}])]
        if any(peer in ({}, {"podSelector": {}}) or peer.get("namespaceSelector") == {} for peer in peers):
            yield where(one)


@_rule
def a_selector_selects_its_own_pods(render: Render) -> Iterator[str]:
    for one in render.of("Deployment", "StatefulSet"):
        if not matches(one["spec"]["selector"], one["spec"]["template"]["metadata"]["labels"]):
            yield where(one)


@_rule
def a_selector_selects_no_other_pods(render: Render) -> Iterator[str]:
    for one in render.of("Deployment", "StatefulSet"):
        if any(matches(one["spec"]["selector"], pod.labels) for pod in render.pods if pod.owner != where(one)):
            yield where(one)


@_rule
def nothing_dangles(render: Render) -> Iterator[str]:
    """A Service, a budget or a policy that is about no pod at all: a label was misspelt."""
    # Operators make these pods.
    operated = [{"cnpg.io/cluster": one["metadata"]["name"]} for one in render.of("Cluster")]
    operated += [dict(SOLVER.labels) for _ in render.of("Ingress")]
    there = [*operated, *(pod.labels for pod in render.pods)]
    for one in render.of("Service", "PodDisruptionBudget", "NetworkPolicy"):
        selector = one["spec"].get("podSelector", one["spec"].get("selector"))
        wanted = {"matchLabels": selector} if one["kind"] == "Service" else selector
        if not any(matches(wanted, labels) for labels in there):
            yield where(one)


@_rule
def a_deployment_has_a_budget(render: Render) -> Iterator[str]:
    budgets = [one["spec"]["selector"] for one in render.of("PodDisruptionBudget")]
    for pod in render.pods:
        if pod.kind == "Deployment" and sum(matches(budget, pod.labels) for budget in budgets) != 1:
            yield pod.owner


@_rule
def a_budget_lets_nodes_be_drained(render: Render) -> Iterator[str]:
    for one in render.of("PodDisruptionBudget"):
        if one["spec"].get("maxUnavailable") in (None, 0, "0%"):
            yield where(one)


@_rule
def a_job_goes_when_it_is_done(render: Render) -> Iterator[str]:
    for one in render.of("Job", "CronJob"):
        spec = one["spec"]["jobTemplate"]["spec"] if one["kind"] == "CronJob" else one["spec"]
        if "ttlSecondsAfterFinished" not in spec:
            yield where(one)


@_rule
def no_privileges_in_the_cluster(render: Render) -> Iterator[str]:
    yield from map(where, render.of("Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding"))


@_rule
def only_inside_services(render: Render) -> Iterator[str]:
    for one in render.of("Service"):
        if one["spec"].get("type", "ClusterIP") != "ClusterIP":
            yield where(one)


@_rule
def ingress_by_tls(render: Render) -> Iterator[str]:
    for one in render.of("Ingress"):
        covered = {host for tls in one["spec"].get("tls", []) for host in tls["hosts"]}
        if {rule["host"] for rule in one["spec"]["rules"]} - covered:
            yield where(one)


@_rule
def data_outlives_its_workload(render: Render) -> Iterator[str]:
    for one in render.of("StatefulSet"):
        kept = one["spec"].get("persistentVolumeClaimRetentionPolicy", {})
        if kept.get("whenDeleted") != "Retain" or kept.get("whenScaled") != "Retain":
            yield where(one)
