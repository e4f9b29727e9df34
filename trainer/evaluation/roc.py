"""How well the margin tells which answer is the better one, whatever the threshold."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trainer.evaluation.shares import RESAMPLES, Estimate, Floats, bounds, resampled
from trainer.evaluation.truth import JudgedPair

Flags = NDArray[np.bool_]
Places = NDArray[np.intp]


@dataclass(frozen=True)
class RocPoint:
    """What comes of taking the normal answer for the better one where the margin is at least `margin`; None: nowhere.

    The rates are shares of the pairs whose injected answer is better (false), and whose normal answer is (true).
    """

    margin: float | None
    false_positive_rate: float
    true_positive_rate: float


@dataclass(frozen=True)
class Roc:
    """The curve, from the greatest margin down, and the area under it: the chance that of two pairs the one whose
    normal answer is the better one has the greater margin, ties counting half."""

    pairs: int
    points: tuple[RocPoint, ...]
    auc: Estimate


def roc(pairs: Sequence[JudgedPair], seed: int, resamples: int = RESAMPLES) -> Roc | None:
    """The curve of the margin over the decided pairs whose margin decides; the interval draws images again.

    None unless both orders occur among them.
    """
    usable = [
        (margin, judged.is_normal_better, judged.image)
        for judged in pairs
        if (margin := judged.pair.deciding_margin) is not None and judged.is_normal_better is not None
    ]
    usable.sort(key=lambda one: one[0])
    truth = np.array([is_normal_better for _, is_normal_better, _ in usable], dtype=bool)
    if truth.all() or not truth.any():  # of no pairs, too, all are so
        return None
    margins, starts = np.unique([margin for margin, _, _ in usable], return_index=True)
    images, unit = np.unique([image for _, _, image in usable], return_inverse=True)
    once = np.ones((1, len(usable)))
    drawn = (weights[:, unit] for weights in resampled(len(images), seed, resamples))
    low, high = bounds(np.concatenate([_auc(weights, truth, starts) for weights in drawn])[:, None])
    auc = Estimate(float(_auc(once, truth, starts)[0]), float(low[0]), float(high[0]))
    return Roc(len(usable), _points(margins, truth, starts), auc)


def _points(margins: Floats, truth: Flags, starts: Places) -> tuple[RocPoint, ...]:
    right, wrong = (np.add.reduceat(side.astype(np.float64), starts)[::-1].cumsum() for side in (truth, ~truth))
    rates = zip(margins[::-1], wrong / wrong[-1], right / right[-1], strict=True)
    return (RocPoint(None, 0.0, 0.0), *(RocPoint(*map(float, three)) for three in rates))


def _auc(weights: Floats, truth: Flags, starts: Places) -> Floats:
    """[resamples, pairs in rising order of margin] weights to [resamples] areas; 1/2 where only one order was drawn.

    `starts`: [distinct margins], the first pair of each. The area is Mann and Whitney's U over the number of couples.
    """
    right, wrong = (np.add.reduceat(weights * side, starts, axis=1) for side in (truth, ~truth))
    below = wrong.cumsum(axis=1) - wrong / 2
    couples = right.sum(axis=1) * wrong.sum(axis=1)
    areas: Floats = np.divide((right * below).sum(axis=1), couples, out=np.full(len(couples), 0.5), where=couples != 0)
    return areas
