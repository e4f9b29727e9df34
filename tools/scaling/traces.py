"""Arrivals, second by second: the ones that docs/scaling.md shows, and a person's own."""

from collections.abc import Callable, Mapping, Sequence
from math import pi
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

Arrivals = tuple[float, ...]
_HOUR = 3600
_BURST_OVER_S = 10


def poisson(rates: Sequence[float] | NDArray[np.float64], seed: int = 1) -> Arrivals:
    """Whole pairs at `rates` a second, one of each second."""
    return tuple(map(float, np.random.default_rng(seed).poisson(rates)))


def steady(rate: float, seconds: int, seed: int = 1) -> Arrivals:
    """The same `rate` of pairs a second all the time."""
    return poisson(np.full(seconds, rate), seed)


def bursts(rate: float, seconds: int, pairs: float, every_s: int, seed: int = 1) -> Arrivals:
    """A steady `rate`, and `pairs` more within ten seconds after each `every_s`: somebody uploads a folder."""
    rates = np.full(seconds, rate)
    for second in range(every_s, seconds):
        if second % every_s < _BURST_OVER_S:
            rates[second] += pairs / _BURST_OVER_S
    return poisson(rates, seed)


def day(least: float, most: float, seconds: int, seed: int = 1) -> Arrivals:
    """From the least rate up to the most and back, as a day has it."""
    wave = (1 - np.cos(np.linspace(0, 2 * pi, seconds))) / 2
    return poisson(least + (most - least) * wave, seed)


def night(rate: float, seconds: int, seed: int = 1) -> Arrivals:
    """A steady `rate`, nothing for a third of the time in between, then the rate again."""
    rates = np.full(seconds, rate)
    rates[seconds // 3 : 2 * seconds // 3] = 0
    return poisson(rates, seed)


SHOWN: Final[Mapping[str, Callable[[float], Arrivals]]] = {
    "steady": lambda one: ended(steady(2.5 * one, 3 * _HOUR)),
    "large folders": lambda one: ended(bursts(0.5 * one, 3 * _HOUR, 300 * one, _HOUR)),
    "small folders": lambda one: ended(bursts(0.5 * one, 3 * _HOUR, 60 * one, 600)),
    "a day": lambda one: ended(day(0.1 * one, 3 * one, 4 * _HOUR)),
    "a pause": lambda one: ended(night(1.5 * one, 3 * _HOUR)),
}
"""By what they are called: arrivals in terms of what one vLLM does in a second."""


def ended(arrivals: Arrivals) -> Arrivals:
    """The same, and then nothing for half an hour."""
    return arrivals + (0.0,) * (_HOUR // 2)


def read_trace(path: Path) -> Arrivals:
    """A file with one number a line: the pairs that came in that second. Raises ValueError for anything else."""
    try:
        found = tuple(float(line) for line in path.read_text(encoding="utf-8").split())
    except ValueError as error:
        raise ValueError(f"{path} must hold one number a line, the pairs of one second each: {error}") from error
    if not found or not all(0 <= one < float("inf") for one in found):
        raise ValueError(f"{path} must hold at least one number, each 0 or more and finite.")
    return found
