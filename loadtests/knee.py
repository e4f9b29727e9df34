"""Where a system stops keeping up: the levels of a ramp, the next one to try, and the knee."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from loadtests.profiles import Ramp, Unit

PLATEAU = 1.05
"""Two more levels that bring no more than this factor of throughput: a closed load has reached its plateau."""
NEAR = 0.9
"""The share of the plateau at which a closed load's knee is."""


@dataclass(frozen=True)
class Level:
    """What was measured while `offered` (arrivals/s, or posters) was held; rates are per second, latencies of the pairs
    that were finished then, in seconds, `in_work` the accepted and unfinished pairs at the end."""

    offered: float
    arrived_per_s: float
    accepted_per_s: float
    finished_per_s: float
    p50_s: float | None
    p95_s: float | None
    in_work: int


@dataclass(frozen=True)
class Knee:
    """The highest level that was kept up with, and the most that was seen at any level.

    `is_bracketed`: a higher level was tried and not kept up with; else the knee lies further up.
    """

    load: Unit
    offered: float
    pairs_per_s: float
    p50_s: float | None
    p95_s: float | None
    best_pairs_per_s: float
    is_bracketed: bool


def is_sustained(level: Level, tolerance: float) -> bool:
    """Whether pairs were finished as fast as images arrived, to within `tolerance`."""
    return level.finished_per_s >= (1 - tolerance) * level.arrived_per_s


def next_level(levels: Sequence[Level], ramp: Ramp, load: Unit) -> float | None:
    """The level to try after these (at least one); None once the knee is known, or `most_levels` are used up."""
    if len(levels) >= ramp.most_levels:
        return None
    return _next_rate(levels, ramp) if load == "open" else _next_count(levels, ramp)


def _next_rate(levels: Sequence[Level], ramp: Ramp) -> float | None:
    """Up until a rate fails, down until one is sustained, then the geometric mean between the two."""
    below, above = _bracket(levels, ramp)
    if above is None:
        return levels[-1].offered * ramp.growth
    if below is None:
        return above.offered / ramp.growth
    if above.offered / below.offered <= ramp.precision:
        return None
    return math.sqrt(below.offered * above.offered)


def _next_count(levels: Sequence[Level], ramp: Ramp) -> float | None:
    before, latest = levels[:-2], levels[-2:]
    if before and _best(latest) < PLATEAU * _best(before):
        return None
    return math.ceil(levels[-1].offered * ramp.growth)


def find_knee(levels: Sequence[Level], ramp: Ramp, load: Unit) -> Knee | None:
    """The knee of a ramp's levels; None where there is none, that is where no level was kept up with."""
    if load == "open":
        at, above = _bracket(levels, ramp)
        is_bracketed = above is not None
    else:
        at = next((level for level in levels if level.finished_per_s >= NEAR * _best(levels)), None)
        is_bracketed = bool(levels) and _next_count(levels, ramp) is None
    if at is None or at.finished_per_s == 0:
        return None
    return Knee(load, at.offered, at.finished_per_s, at.p50_s, at.p95_s, _best(levels), is_bracketed)


def _bracket(levels: Sequence[Level], ramp: Ramp) -> tuple[Level | None, Level | None]:
    """The highest rate kept up with below the lowest that was not, and that one."""
    failed = [level for level in levels if not is_sustained(level, ramp.tolerance)]
    above = min(failed, key=lambda level: level.offered, default=None)
    kept = [level for level in levels if level not in failed and (above is None or level.offered < above.offered)]
    return max(kept, key=lambda level: level.offered, default=None), above


def _best(levels: Sequence[Level]) -> float:
    return max((level.finished_per_s for level in levels), default=0.0)
