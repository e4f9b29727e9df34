"""Every render keeps the rules, the restricted Pod Security Standard first, but for the skips, which have a reason."""

import copy
from collections.abc import Callable
from typing import Any

import pytest

from tests.k8s.conftest import NAMES, Rendered
from tests.k8s.rendering import Render
from tests.k8s.rules import RULES, complaints
from tests.k8s.skips import SKIPS, Skip


def test_every_rule_is_kept(each: Render) -> None:
    found = [one for one in complaints(each) if not any(skip.covers(one) for skip in SKIPS)]
    assert found == []


@pytest.mark.parametrize("skip", SKIPS, ids=lambda skip: f"{skip.rule} {skip.places}")
def test_a_skip_is_still_needed_and_has_a_reason(skip: Skip, rendered: Rendered) -> None:
    assert any(skip.covers(one) for name in NAMES for one in complaints(rendered(name)))
    assert skip.reason


def _pod(of: Render, kind: str, name: str) -> Any:
    one = next(one for one in of.of(kind) if one["metadata"]["name"] == name)
    spec = one["spec"]["jobTemplate"]["spec"] if kind == "CronJob" else one["spec"]
    return spec["template"]["spec"]


def _gateway(of: Render) -> Any:
    return _pod(of, "Deployment", "gateway")


def _container(of: Render) -> Any:
    return _gateway(of)["containers"][0]


def _of(of: Render, kind: str) -> Any:
    return of.of(kind)[0]


def _without(kind: str, name: str) -> Callable[[Render], None]:
    def drop(of: Render) -> None:
        of.objects[:] = [one for one in of.objects if (one["kind"], one["metadata"]["name"]) != (kind, name)]

    return drop


_MISTAKES: dict[str, Callable[[Render], Any]] = {
    "no_host_namespaces": lambda of: _gateway(of).update(hostNetwork=True),
    "no_host_process": lambda of: _container(of)["securityContext"].update(windowsOptions={"hostProcess": True}),
    "not_privileged": lambda of: _container(of)["securityContext"].update(privileged=True),
    "no_privilege_escalation": lambda of: _container(of)["securityContext"].pop("allowPrivilegeEscalation"),
    "all_capabilities_dropped": lambda of: _container(of)["securityContext"]["capabilities"].update(add=["SYS_ADMIN"]),
    "no_host_ports": lambda of: _container(of)["ports"][0].update(hostPort=8080),
    "restricted_volumes": lambda of: _gateway(of)["volumes"].append({"name": "node", "hostPath": {"path": "/"}}),
    "not_root": lambda of: _gateway(of)["securityContext"].pop("runAsNonRoot"),
    "user_is_not_root": lambda of: _container(of)["securityContext"].update(runAsUser=0),
    "seccomp": lambda of: _gateway(of)["securityContext"].update(seccompProfile={"type": "Unconfined"}),
    "no_sysctls": lambda of: _gateway(of)["securityContext"].update(sysctls=[{"name": "a", "value": "b"}]),
    "high_user_id": lambda of: _gateway(of)["securityContext"].update(runAsUser=1000),
    "read_only_root": lambda of: _container(of)["securityContext"].pop("readOnlyRootFilesystem"),
    "no_token": lambda of: _gateway(of).pop("automountServiceAccountToken"),
    "own_service_account": lambda of: _gateway(of).pop("serviceAccountName"),
    "no_service_links": lambda of: _gateway(of).pop("enableServiceLinks"),
    "cpu_request": lambda of: _container(of)["resources"]["requests"].pop("cpu"),
    "cpu_limit": lambda of: _container(of)["resources"]["limits"].pop("cpu"),
    "memory_request": lambda of: _container(of)["resources"]["requests"].pop("memory"),
    "memory_limit": lambda of: _container(of)["resources"].pop("limits"),
    "liveness_probe": lambda of: _container(of).pop("livenessProbe"),
    "readiness_probe": lambda of: _container(of).pop("readinessProbe"),
    "startup_probe": lambda of: _container(of).pop("startupProbe"),
    "image_has_a_version": lambda of: _container(of).update(image="registry:5000/judgefree/gateway"),
    "temporary_folders_are_bounded": lambda of: _gateway(of)["volumes"].append({"name": "more", "emptyDir": {}}),
    "spread_over_nodes": lambda of: _gateway(of).pop("topologySpreadConstraints"),
    "namespace_is_restricted": lambda of: _of(of, "Namespace")["metadata"].pop("labels"),
    "everything_is_denied_first": _without("NetworkPolicy", "default-deny"),
    "no_empty_peers": lambda of: _of(of, "NetworkPolicy")["spec"].update(ingress=[{"from": []}]),
    "a_selector_selects_its_own_pods": lambda of: _of(of, "Deployment")["spec"]["template"]["metadata"].update(
        labels={}
    ),
    "a_selector_selects_no_other_pods": lambda of: _of(of, "Deployment")["spec"].update(selector={"matchLabels": {}}),
    "nothing_dangles": lambda of: _of(of, "Service")["spec"]["selector"].update(nobody="has-this"),
    "a_deployment_has_a_budget": _without("PodDisruptionBudget", "gateway"),
    "a_budget_lets_nodes_be_drained": lambda of: _of(of, "PodDisruptionBudget")["spec"].update(maxUnavailable=0),
    "a_job_goes_when_it_is_done": lambda of: _of(of, "Job")["spec"].pop("ttlSecondsAfterFinished"),
    "no_privileges_in_the_cluster": lambda of: of.objects.append({"kind": "Role", "metadata": {"name": "more"}}),
    "only_inside_services": lambda of: _of(of, "Service")["spec"].update(type="LoadBalancer"),
    "ingress_by_tls": lambda of: _of(of, "Ingress")["spec"].pop("tls"),
    "data_outlives_its_workload": lambda of: _of(of, "StatefulSet")["spec"].pop("persistentVolumeClaimRetentionPolicy"),
}
_KEPT_NOWHERE = {skip.rule for skip in SKIPS if skip.places == ".*"}


@pytest.mark.parametrize("rule", sorted(set(RULES) - _KEPT_NOWHERE - {"secrets_as_files"}))
def test_a_rule_finds_its_mistake(rule: str, rendered: Rendered) -> None:
    sound = rendered("gpu")
    broken = Render("broken", copy.deepcopy(sound.objects))
    _MISTAKES[rule](broken)
    before = {one.place for one in complaints(sound) if one.rule == rule}
    assert {one.place for one in complaints(broken) if one.rule == rule} > before
