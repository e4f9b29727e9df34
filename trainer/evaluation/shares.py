"""Figures that are shares of counts, with bootstrap intervals, and the paired comparison of two.

The units that are drawn again are images (or questions, or pairs): counts are taken of each, and a figure is a ratio
of weighted sums of them (`pairs.metrics.Share`). Intervals are percentile intervals of the bootstrap (Efron, "Bootstrap
Methods: Another Look at the Jackknife", 1979; Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, ch. 13).
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from pairs.metrics import Share
from trainer.evaluation.errors import NotComparable

RESAMPLES = 2_000
CONFIDENCE = 0.95
_DRAWN_AT_ONCE = 2**22
"""Draws held in memory at a time: 32 MiB of indices."""

Shares = Mapping[str, Share]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Counts:
    """What was counted of each unit: `ids` names the units, `names` the columns, `rows` is [units][columns]."""

    ids: tuple[str, ...]
    names: tuple[str, ...]
    rows: tuple[tuple[int, ...], ...]

    @classmethod
    def added_up(cls, names: Sequence[str], counted: Iterable[tuple[str, Sequence[int]]]) -> Self:
        """The counts of each unit from pairs (unit, row); rows of the same unit are added up."""
        rows: dict[str, tuple[int, ...]] = {}
        for unit, row in counted:
            before = rows.get(unit, (0,) * len(names))
            rows[unit] = tuple(a + b for a, b in zip(before, row, strict=True))
        return cls(tuple(rows), tuple(names), tuple(rows.values()))

    def array(self) -> Floats:
        """[units, columns] float64."""
        return np.array(self.rows, dtype=np.float64).reshape(len(self.ids), len(self.names))


@dataclass(frozen=True)
class Estimate:
    """A figure and its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Figures:
    """Figures by name over `units` images (or questions, or pairs); those in `of_nothing` are shares of 0."""

    units: int
    estimates: dict[str, Estimate]
    of_nothing: tuple[str, ...] = ()

    def __getitem__(self, name: str) -> Estimate:
        return self.estimates[name]


@dataclass(frozen=True)
class Difference:
    """A figure of the first model minus the second's, its 95 % interval, and the shares of resamples in which it is
    above zero and below; the rest are equal."""

    value: float
    low: float
    high: float
    above: float
    below: float


@dataclass(frozen=True)
class Comparison:
    """Differences by figure over the `units` images that both models were asked about."""

    units: int
    differences: dict[str, Difference]

    def __getitem__(self, name: str) -> Difference:
        return self.differences[name]


def estimate(counts: Counts, shares: Shares, seed: int, resamples: int = RESAMPLES) -> Figures:
    """Every figure with its interval; the same for the same seed. Raises ValueError where there are no units."""
    drawn = np.concatenate(
        [_ratios_of(counts, shares, weights) for weights in resampled(len(counts.ids), seed, resamples)]
    )
    low, high = bounds(drawn)
    rows = zip(shares, _values(counts, shares), low, high, strict=True)
    totals = dict(zip(counts.names, counts.array().sum(axis=0), strict=True))
    of_nothing = (
        name for name, share in shares.items() if not sum(totals[one] * by for one, by in share.whole.items())
    )
    estimates = {name: Estimate(*map(float, three)) for name, *three in rows}
    return Figures(len(counts.ids), estimates, tuple(of_nothing))


def compare(ours: Counts, theirs: Counts, shares: Shares, seed: int, resamples: int = RESAMPLES) -> Comparison:
    """Ours minus theirs, figure by figure; each resample draws the same units for both.

    Raises NotComparable where the two are not counts of the same units in the same order, ValueError where there are
    none.
    """
    if ours.ids != theirs.ids:
        raise NotComparable("The two models were not asked about the same images, so they cannot be compared in pairs.")
    drawn = np.concatenate(
        [
            _ratios_of(ours, shares, weights) - _ratios_of(theirs, shares, weights)
            for weights in resampled(len(ours.ids), seed, resamples)
        ]
    )
    low, high = bounds(drawn)
    values = _values(ours, shares) - _values(theirs, shares)
    rows = zip(shares, values, low, high, (drawn > 0).mean(axis=0), (drawn < 0).mean(axis=0), strict=True)
    return Comparison(len(ours.ids), {name: Difference(*map(float, five)) for name, *five in rows})


def resampled(units: int, seed: int, resamples: int) -> Iterator[Floats]:
    """How often each unit was drawn, [some resamples, units], until there are `resamples` of them.

    Raises ValueError where there are no units.
    """
    if units == 0:
        raise ValueError("there is nothing to draw from")
    rng = np.random.default_rng(seed)
    step = max(1, _DRAWN_AT_ONCE // units)
    for done in range(0, resamples, step):
        some = min(step, resamples - done)
        drawn = rng.integers(units, size=(some, units)) + units * np.arange(some)[:, None]
        yield np.bincount(drawn.ravel(), minlength=some * units).reshape(some, units).astype(np.float64)


def _values(counts: Counts, shares: Shares) -> Floats:
    """[figures] as they are."""
    values: Floats = _ratios(counts.array().sum(axis=0, keepdims=True), counts.names, shares)[0]
    return values


def _ratios_of(counts: Counts, shares: Shares, weights: Floats) -> Floats:
    return _ratios(weights @ counts.array(), counts.names, shares)


def _ratios(totals: Floats, names: Sequence[str], shares: Shares) -> Floats:
    """[resamples, columns] totals to [resamples, figures] values."""
    part, whole = (
        totals @ np.array([[side.get(name, 0) for side in sides] for name in names], dtype=np.float64)
        for sides in ([share.part for share in shares.values()], [share.whole for share in shares.values()])
    )
    empty = np.broadcast_to([share.of_nothing for share in shares.values()], part.shape)
    return np.divide(part, whole, out=empty.astype(np.float64), where=whole != 0)


def bounds(drawn: Floats) -> tuple[Floats, Floats]:
    """The percentile interval of each column."""
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(drawn, [tail, 1 - tail], axis=0)
    return low, high
