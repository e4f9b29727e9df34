"""ScaledObjects as they stand in YAML, as `autoscaler` wants them."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from tools.scaling.autoscaler import DEFAULT_DOWN, DEFAULT_UP, Metric, Policy, Rules, Scaling, Trigger

_RATE = re.compile(r"\brate\((\w+)[^\[]*\[(\d+)([sm])\]\)")
_SECONDS = {"s": 1, "m": 60}
_SEEN = "/ max_over_time("
_STREAMS: Final[Mapping[str, Metric]] = {"jobs": "jobs", "candidates": "candidates"}
_RATES: Final[Mapping[str, Metric]] = {
    "judgefree_pairs_admitted_total": "admitted",
    "judgefree_pairs_generated_total": "generated",
}


def read_folder(folder: Path) -> dict[str, Scaling]:
    """Every ScaledObject in the YAML files of `folder`, by the Deployment that it scales.

    Raises ValueError for a trigger that this simulation does not know.
    """
    found = (one for path in sorted(folder.glob("*.yaml")) for one in documents(path, "ScaledObject"))
    return {one["spec"]["scaleTargetRef"]["name"]: scaling(one) for one in found}


def documents(path: Path, kind: str) -> Iterator[Mapping[str, Any]]:
    """The resources of `kind` in a YAML file."""
    for one in yaml.safe_load_all(path.read_text(encoding="utf-8")):
        if isinstance(one, dict) and one.get("kind") == kind:
            yield one


def scaling(found: Mapping[str, Any]) -> Scaling:
    """One ScaledObject. Raises ValueError for a trigger that this simulation does not know."""
    spec = found["spec"]
    behavior = spec.get("advanced", {}).get("horizontalPodAutoscalerConfig", {}).get("behavior", {})
    return Scaling(
        part=spec["scaleTargetRef"]["name"],
        triggers=tuple(_trigger(one) for one in spec["triggers"]),
        least=spec.get("minReplicaCount", 0),
        most=spec.get("maxReplicaCount", 100),
        polling_s=spec.get("pollingInterval", 30),
        cooldown_s=spec.get("cooldownPeriod", 300),
        up=_rules(behavior.get("scaleUp", {}), DEFAULT_UP),
        down=_rules(behavior.get("scaleDown", {}), DEFAULT_DOWN),
    )


def _rules(found: Mapping[str, Any], default: Rules) -> Rules:
    policies = tuple(Policy(one["type"], one["value"], one["periodSeconds"]) for one in found.get("policies", ()))
    window_s = found.get("stabilizationWindowSeconds", default.window_s)
    return Rules(window_s, policies or default.policies, found.get("selectPolicy", "Max"))


def _trigger(found: Mapping[str, Any]) -> Trigger:
    said = found["metadata"]
    if found["type"] == "redis-streams" and "streamLength" in said and "consumerGroup" not in said:
        return Trigger(_STREAMS[said["stream"].rsplit(":", 1)[1]], float(said["streamLength"]))
    if found["type"] == "prometheus":
        target, activation = float(said["threshold"]), float(said.get("activationThreshold", 0))
        if "vllm:num_requests_waiting" in said["query"]:
            return Trigger("requests waiting", target, activation)
        if (rate := _RATE.search(said["query"])) and rate[1] in _RATES:
            metric: Metric = "filled" if _SEEN in said["query"] else _RATES[rate[1]]
            return Trigger(metric, target, activation, int(rate[2]) * _SECONDS[rate[3]])
    raise ValueError(f"a trigger that is not simulated: {found['type']} {dict(said)}")
