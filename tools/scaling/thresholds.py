"""The triggers of a ScaledObject for replicas of a given rate; and the two ways that are tried beside the shipped one.

The rules are in docs/scaling.md: what arrives may fill replicas to USE of what they can do by measurements from
elsewhere, or to USE_OF_SEEN of what they were seen to do, and what is not done may be BEHIND_S seconds of their work.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from tools.scaling.autoscaler import Metric, Scaling, Trigger
from tools.scaling.cluster import GATEWAY, MLLM, VERIFIER, Capacity

USE: Final = 0.8
USE_OF_SEEN: Final = 0.9
BEHIND_S: Final[Mapping[str, int]] = {GATEWAY: 30, MLLM: 60, VERIFIER: 30}
_LAG_OF: Final[Mapping[Metric, Metric]] = {"jobs": "jobs lag", "candidates": "candidates lag"}
_REQUESTS_OF_A_PAIR = 3


def fitted(scaling: Scaling, capacity: Capacity) -> Scaling:
    """`scaling` with the targets that replicas of `capacity` call for."""
    targets = (target(scaling.part, one, capacity) for one in scaling.triggers)
    triggers = tuple(replace(one, target=aim) for one, aim in zip(scaling.triggers, targets, strict=True))
    return replace(scaling, triggers=triggers)


def target(part: str, trigger: Trigger, capacity: Capacity) -> float:
    """What of the trigger's metric a replica of `part` should have."""
    rates = {GATEWAY: capacity.paired_per_s, MLLM: capacity.generated_per_s, VERIFIER: capacity.verified_per_s}
    match trigger.metric:
        case "admitted" | "generated":
            return USE * rates[part]
        case "filled":
            return USE_OF_SEEN
        case "requests waiting":
            return _REQUESTS_OF_A_PAIR * capacity.seats
        case _:
            return BEHIND_S[part] * rates[part]


def by_lag_alone(scaling: Scaling) -> Scaling:
    """As one would write it first: lag as the only trigger, polling, cooldown and behaviour at their defaults."""
    lag = tuple(replace(one, metric=_LAG_OF[one.metric]) for one in scaling.triggers if one.metric in _LAG_OF)
    return Scaling(scaling.part, lag, scaling.least, scaling.most)


def by_waiting_requests_alone(scaling: Scaling) -> Scaling:
    """vLLM by its own metric; the other parts as they are."""
    waiting = tuple(one for one in scaling.triggers if one.metric == "requests waiting")
    return replace(scaling, triggers=waiting or scaling.triggers)
