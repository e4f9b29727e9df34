"""The triggers of a ScaledObject for replicas of a given rate; and the two ways that are tried beside the shipped one.

The rules are in docs/scaling.md: what arrives may fill replicas to USE of what they can do, and what waits may be
LAG_S seconds of a replica's work.
"""

from dataclasses import replace
from typing import Final

from tools.scaling.autoscaler import Scaling, Trigger
from tools.scaling.cluster import VERIFIER, Capacity

USE: Final = 0.8
LAG_S: Final = {"jobs lag": 60, "candidates lag": 30}
_REQUESTS_OF_A_PAIR = 3


def fitted(scaling: Scaling, capacity: Capacity) -> Scaling:
    """`scaling` with the targets that replicas of `capacity` call for."""
    return replace(scaling, triggers=tuple(replace(one, target=target(one, capacity)) for one in scaling.triggers))


def target(trigger: Trigger, capacity: Capacity) -> float:
    """What of the trigger's metric a replica should have."""
    match trigger.metric:
        case "admitted":
            return USE * capacity.generated_per_s
        case "generated":
            return USE * capacity.verified_per_s
        case "jobs lag":
            return LAG_S["jobs lag"] * capacity.generated_per_s
        case "candidates lag":
            return LAG_S["candidates lag"] * capacity.verified_per_s
        case "requests waiting":
            return _REQUESTS_OF_A_PAIR * capacity.seats


def by_lag_alone(scaling: Scaling) -> Scaling:
    """As one would write it first: lag as the only trigger, polling, cooldown and behaviour at their defaults."""
    lag = tuple(one for one in scaling.triggers if one.metric in LAG_S)
    return Scaling(scaling.part, lag, scaling.least, scaling.most)


def by_waiting_requests_alone(scaling: Scaling) -> Scaling:
    """vLLM by its own metric; the other parts as they are."""
    waiting = tuple(one for one in scaling.triggers if one.metric == "requests waiting")
    return scaling if scaling.part == VERIFIER or not waiting else replace(scaling, triggers=waiting)
