"""The metrics that there really are: of our parts from their registries, of vLLM from its source."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.metrics import MetricWrapperBase

OF_PODS = {"namespace", "pod", "instance", "job", "container", "component", "judgefree_io_shard"}
"""What scraping adds to every series (k8s/components/monitoring/pod-monitors.yaml)."""
OF_OTHERS = {
    "up": set[str](),
    "kubelet_volume_stats_available_bytes": {"namespace", "persistentvolumeclaim"},
    "kubelet_volume_stats_capacity_bytes": {"namespace", "persistentvolumeclaim"},
}
"""Prometheus' own, and the kubelet's."""
_SERIES = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_sum", "_count")}
_VLLM_S_OWN_LABELS = {"model_name", "engine"}


@dataclass(frozen=True)
class Metric:
    """A family: its name as it is exposed (with `_total` for a counter), and the labels of our own."""

    name: str
    kind: str
    labels: tuple[str, ...]
    text: str

    def series(self) -> Iterator[tuple[str, set[str]]]:
        base = self.name.removesuffix("_total") if self.kind == "counter" else self.name
        for ending in _SERIES[self.kind]:
            yield base + ending, {*self.labels, *({"le"} if ending == "_bucket" else ())}


def of_gateway() -> list[Metric]:
    from service.metrics import Metrics

    return _of(Metrics().registry)


def of_verifier() -> list[Metric]:
    from workers.clip.gpu import Gpu
    from workers.clip.health import Metrics

    gpu = [Metric(one.name, one.type, ("device",), one.documentation) for one in Gpu().describe()]
    return [*_of(Metrics().registry), *gpu]


@cache
def of_plugin() -> list[Metric]:
    from workers.mllm import metrics

    assert metrics.COUNTERS
    return [one for one in _of(REGISTRY) if one.name.startswith("judgefree_mllm_")]


@cache
def of_vllm() -> dict[str, set[str]]:
    """vLLM's series and their labels, as its source declares them."""
    spec = find_spec("vllm")
    assert spec is not None
    assert spec.submodule_search_locations
    source = Path(spec.submodule_search_locations[0]) / "v1" / "metrics" / "loggers.py"
    found: dict[str, set[str]] = {}
    for call in ast.walk(ast.parse(source.read_text())):
        if isinstance(call, ast.Call):
            given = {word.arg: word.value for word in call.keywords}
            name, kind = given.get("name"), getattr(call.func, "attr", "")
            if isinstance(name, ast.Constant) and str(name.value).startswith("vllm:"):
                found |= dict(_vllm_series(str(name.value), kind, given.get("labelnames")))
    return found


def _vllm_series(name: str, kind: str, labels: ast.expr | None) -> Iterator[tuple[str, set[str]]]:
    more = {node.value for node in ast.walk(labels) if isinstance(node, ast.Constant)} if labels else set()
    kinds = {"_counter_cls": "counter", "_gauge_cls": "gauge", "_histogram_cls": "histogram"}
    base = name.removesuffix("_total") if kinds[kind] == "counter" else name
    for ending in _SERIES[kinds[kind]]:
        yield base + ending, {*_VLLM_S_OWN_LABELS, *more, *({"le"} if ending == "_bucket" else ())}


def everything() -> dict[str, set[str]]:
    """Every series with the labels that it may have where Prometheus keeps it."""
    ours = [one for part in (of_gateway(), of_verifier(), of_plugin()) for one in part]
    found = dict(series for metric in ours for series in metric.series()) | of_vllm() | OF_OTHERS
    return {name: labels | OF_PODS for name, labels in found.items()}


def _of(registry: CollectorRegistry) -> list[Metric]:
    collectors: set[Any] = set(registry._collector_to_names)
    found = []
    for collector in collectors:
        if isinstance(collector, MetricWrapperBase):
            name = collector._name + ("_total" if collector._type == "counter" else "")
            found.append(Metric(name, collector._type, tuple(collector._labelnames), collector._documentation))
        else:
            for family in collector.collect():
                name = family.name + ("_total" if family.type == "counter" else "")
                labels = {label for sample in family.samples for label in sample.labels}
                found.append(Metric(name, family.type, tuple(sorted(labels)), family.documentation))
    return sorted(found, key=lambda one: one.name)
