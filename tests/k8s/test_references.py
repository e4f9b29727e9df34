"""What a manifest names is there: volumes, claims, Secrets and their keys, ConfigMaps, accounts, ports, Services."""

import copy
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.k8s.conftest import Rendered
from tests.k8s.rendering import Object, Pod, Render, where
from tests.k8s.secrets import known
from tests.k8s.selecting import matches

BY_CERT_MANAGER = "cert-manager.io/cluster-issuer"


def dangling(render: Render) -> list[str]:
    """Each reference that leads nowhere, in words."""
    found = [f"{pod.owner}: {said}" for pod in render.pods for said in _of_pod(render, pod)]
    return [*found, *(f"{where(one)}: {said}" for one in render.objects for said in _of_object(render, one))]


def _of_pod(render: Render, pod: Pod) -> Iterator[str]:
    volumes = {volume["name"] for volume in pod.spec.get("volumes", [])} | _claimed(render, pod)
    mounted = [mount for container in pod.containers for mount in container.get("volumeMounts", [])]
    yield from (f"no volume {mount['name']}" for mount in mounted if mount["name"] not in volumes)
    yield from (f"volume {name} is mounted nowhere" for name in volumes - {mount["name"] for mount in mounted})
    for volume in pod.spec.get("volumes", []):
        claim = volume.get("persistentVolumeClaim", {}).get("claimName")
        if claim is not None and claim not in render.names("PersistentVolumeClaim"):
            yield f"no claim {claim}"
        if "configMap" in volume and volume["configMap"]["name"] not in render.names("ConfigMap"):
            yield f"no ConfigMap {volume['configMap']['name']}"
    if pod.spec["serviceAccountName"] not in render.names("ServiceAccount"):
        yield f"no account {pod.spec['serviceAccountName']}"
    for container in pod.containers:
        yield from _of_container(render, container)


def _claimed(render: Render, pod: Pod) -> set[str]:
    owner = next(one for one in render.objects if where(one) == pod.owner)
    return {claim["metadata"]["name"] for claim in owner["spec"].get("volumeClaimTemplates", [])}


def _of_container(render: Render, container: Object) -> Iterator[str]:
    maps = {one["metadata"]["name"]: one["data"] for one in render.of("ConfigMap")}
    for source in container.get("envFrom", []):
        if source["configMapRef"]["name"] not in maps:
            yield f"no ConfigMap {source['configMapRef']['name']}"
    sources = [variable["valueFrom"] for variable in container.get("env", []) if "valueFrom" in variable]
    for kind, there in (("configMapKeyRef", maps), ("secretKeyRef", known(render))):
        for one in [source[kind] for source in sources if kind in source]:
            if not one.get("optional") and one["key"] not in there.get(one["name"], {}):
                yield f"no {one['key']} in {one['name']}"
    own = {port["name"] for port in container.get("ports", [])}
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        port = container.get(probe, {}).get("httpGet", {}).get("port")
        if port is not None and port not in own:
            yield f"{probe} asks port {port}, which is not its own"
    paths = [mount["mountPath"] for mount in container.get("volumeMounts", [])]
    yield from (f"two volumes at {path}" for path in sorted(set(paths)) if paths.count(path) > 1)


def _of_object(render: Render, one: Object) -> Iterator[str]:
    spec = one.get("spec", {})
    match one["kind"]:
        case "Service":
            behind = [pod for pod in render.pods if matches({"matchLabels": spec["selector"]}, pod.labels)]
            for pod in behind:
                wanted = {port["targetPort"] for port in spec["ports"]}
                yield from (f"{pod.owner} has no port {port}" for port in wanted - set(pod.ports().values()))
        case "StatefulSet":
            if spec["serviceName"] not in render.names("Service"):
                yield f"no Service {spec['serviceName']}"
        case "Ingress":
            yield from _of_ingress(render, one)
        case "ScaledObject":
            if spec["scaleTargetRef"]["name"] not in render.names("Deployment"):
                yield f"no Deployment {spec['scaleTargetRef']['name']}"
            named = {
                trigger["authenticationRef"]["name"] for trigger in spec["triggers"] if "authenticationRef" in trigger
            }
            yield from (f"no TriggerAuthentication {name}" for name in named - render.names("TriggerAuthentication"))
        case "TriggerAuthentication":
            for target in spec["secretTargetRef"]:
                if target["key"] not in known(render).get(target["name"], {}):
                    yield f"no {target['key']} in {target['name']}"
        case "Cluster":
            if not {"username", "password"} <= set(
                known(render).get(spec["bootstrap"]["initdb"]["secret"]["name"], {})
            ):
                yield "no username and password of the owner"
        case "ConfigMap" | "ServiceAccount" | "PersistentVolumeClaim" | "Secret":
            is_read = f"'{one['metadata']['name']}'" in str([pod.spec for pod in render.pods])
            if not is_read and "grafana_dashboard" not in one["metadata"].get("labels", {}):
                yield "nobody uses it"
        case "PodMonitor":
            yield from _of_monitor(render, one)


def _of_monitor(render: Render, monitor: Object) -> Iterator[str]:
    watched = [pod for pod in render.pods if matches(monitor["spec"]["selector"], pod.labels)]
    for endpoint in monitor["spec"]["podMetricsEndpoints"]:
        if not watched or any(endpoint["port"] not in pod.ports().values() for pod in watched):
            yield f"no pod with port {endpoint['port']}"
        wanted = endpoint.get("authorization", {}).get("credentials")
        if wanted is not None and wanted["key"] not in known(render).get(wanted["name"], {}):
            yield f"no {wanted['key']} in {wanted['name']}"


def _of_ingress(render: Render, ingress: Object) -> Iterator[str]:
    services = {one["metadata"]["name"]: one["spec"]["ports"] for one in render.of("Service")}
    for rule in ingress["spec"]["rules"]:
        for path in rule["http"]["paths"]:
            service = path["backend"]["service"]
            if service["port"]["name"] not in [port["name"] for port in services.get(service["name"], [])]:
                yield f"no Service {service['name']} with port {service['port']['name']}"
    if BY_CERT_MANAGER not in ingress["metadata"].get("annotations", {}):
        yield "nobody makes its certificate"


def test_what_is_named_is_there(each: Render) -> None:
    assert dangling(each) == []


def test_secrets_are_in_no_render_but_kinds(each: Render) -> None:
    assert not each.of("Secret") or "postgres" in each.names("StatefulSet")


def _named(of: Render, kind: str, name: str) -> Any:
    return next(one for one in of.of(kind) if one["metadata"]["name"] == name)


def _container(of: Render) -> Any:
    return _named(of, "Deployment", "gateway")["spec"]["template"]["spec"]["containers"][0]


_MISTAKES: dict[str, Callable[[Render], Any]] = {
    "no volume more": lambda of: _container(of)["volumeMounts"].append({"name": "more", "mountPath": "/more"}),
    "volume data is mounted nowhere": lambda of: _container(of)["volumeMounts"].pop(0),
    "no claim training": lambda of: of.objects.remove(_named(of, "PersistentVolumeClaim", "training")),
    "no account gateway": lambda of: of.objects.remove(_named(of, "ServiceAccount", "gateway")),
    "no key in judgefree": lambda of: _container(of)["env"][1]["valueFrom"]["secretKeyRef"].update(key="key"),
    "no ConfigMap more": lambda of: _container(of)["envFrom"].append({"configMapRef": {"name": "more"}}),
    "which is not its own": lambda of: _container(of)["ports"][0].update(name="web"),
    "no Service gateway with port http": lambda of: of.objects.remove(_named(of, "Service", "gateway")),
    "no Deployment verifier": lambda of: of.objects.remove(_named(of, "Deployment", "verifier")),
    "nobody uses it": lambda of: of.objects.append({"kind": "ConfigMap", "metadata": {"name": "more"}, "data": {}}),
}


@pytest.mark.parametrize("mistake", _MISTAKES)
def test_a_mistake_is_found(mistake: str, rendered: Rendered) -> None:
    broken = Render("broken", copy.deepcopy(rendered("gpu").objects))
    _MISTAKES[mistake](broken)
    assert any(mistake in said for said in dangling(broken))
