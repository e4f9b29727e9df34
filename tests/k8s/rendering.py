"""What `kubectl kustomize` makes of a folder, as objects, and the pods that these would start."""

import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
K8S = ROOT / "k8s"
KUBECTL = Path(sys.executable).parent / "kubectl"

Object = dict[str, Any]

_POD_TEMPLATES = {
    "Deployment": ("spec", "template"),
    "StatefulSet": ("spec", "template"),
    "Job": ("spec", "template"),
    "CronJob": ("spec", "jobTemplate", "spec", "template"),
}


@dataclass(frozen=True)
class Pod:
    """A pod as its owner describes it. `owner` is KIND/NAME."""

    owner: str
    namespace: str
    labels: Mapping[str, str]
    spec: Mapping[str, Any]

    @property
    def kind(self) -> str:
        return self.owner.partition("/")[0]

    @property
    def component(self) -> str:
        return self.labels.get("app.kubernetes.io/component", "")

    @property
    def runs_for_ever(self) -> bool:
        return self.kind in ("Deployment", "StatefulSet")

    @property
    def containers(self) -> list[Object]:
        """The init containers and the containers."""
        return [*self.spec.get("initContainers", []), *self.spec["containers"]]

    def ports(self) -> dict[int, str]:
        """The ports that it listens on, with their names."""
        declared = [port for container in self.spec["containers"] for port in container.get("ports", [])]
        return {port["containerPort"]: port.get("name", "") for port in declared}


class Render:
    """The objects of one rendered folder. `name` is for people."""

    def __init__(self, name: str, objects: list[Object]) -> None:
        self.name = name
        self.objects = objects

    def __repr__(self) -> str:
        return self.name

    def of(self, *kinds: str) -> list[Object]:
        return [one for one in self.objects if one["kind"] in kinds]

    def names(self, kind: str) -> set[str]:
        return {one["metadata"]["name"] for one in self.of(kind)}

    @cached_property
    def pods(self) -> list[Pod]:
        return [pod for one in self.objects for pod in _pods_of(one)]

    def pod(self, owner: str) -> Pod:
        return next(pod for pod in self.pods if pod.owner == owner)

    def pods_of(self, component: str) -> list[Pod]:
        return [pod for pod in self.pods if pod.component == component]


def render(folder: Path, name: str) -> Render:
    """Raises AssertionError with kustomize's own words where it fails."""
    ended = subprocess.run([KUBECTL, "kustomize", folder], capture_output=True, text=True, check=False)
    if ended.returncode != 0 or ended.stderr:  # a deprecated field is a warning
        raise AssertionError(f"{name}: {ended.stderr}")
    return Render(name, list(yaml.load_all(ended.stdout, yaml.CSafeLoader)))


def where(one: Object) -> str:
    return f"{one['kind']}/{one['metadata']['name']}"


def replicas(deployment: Object, scaled_objects: list[Object]) -> tuple[int, int]:
    """The fewest and the most that there may be."""
    name = deployment["metadata"]["name"]
    for one in scaled_objects:
        if one["spec"]["scaleTargetRef"]["name"] == name:
            return one["spec"]["minReplicaCount"], one["spec"]["maxReplicaCount"]
    return deployment["spec"]["replicas"], deployment["spec"]["replicas"]


def environment(render: Render, pod: Pod, container: Object) -> dict[str, str]:
    """The container's environment as far as it can be known: `$(NAME)` expanded, a Secret's value as `<SECRET.KEY>`.

    As the kubelet does it: `env` wins over `envFrom`, and expands only what stands before it in `env`.
    """
    maps = {one["metadata"]["name"]: one.get("data", {}) for one in render.of("ConfigMap")}
    found: dict[str, str] = {}
    for source in container.get("envFrom", []):
        found |= maps[source["configMapRef"]["name"]]
    earlier: dict[str, str] = {}
    for variable in container.get("env", []):
        earlier[variable["name"]] = _value(variable, maps, earlier)
    return found | earlier


def _value(variable: Object, maps: Mapping[str, Mapping[str, str]], earlier: Mapping[str, str]) -> str:
    if "value" in variable:
        value = str(variable["value"])
        for name, known in earlier.items():
            value = value.replace(f"$({name})", known)
        return value
    source = variable["valueFrom"]
    if "configMapKeyRef" in source:
        return maps[source["configMapKeyRef"]["name"]][source["configMapKeyRef"]["key"]]
    secret = source["secretKeyRef"]
    return f"<{secret['name']}.{secret['key']}>"


def _pods_of(one: Object) -> Iterator[Pod]:
    namespace = one["metadata"].get("namespace", "")
    for template in _templates(one):
        yield Pod(where(one), namespace, template["metadata"].get("labels", {}), template["spec"])


def _templates(one: Object) -> Iterator[Object]:
    if one["kind"] == "JobSet":
        for job in one["spec"]["replicatedJobs"]:
            yield job["template"]["spec"]["template"]
    elif one["kind"] in _POD_TEMPLATES:
        found = one
        for key in _POD_TEMPLATES[one["kind"]]:
            found = found[key]
        yield found
