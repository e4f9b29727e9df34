"""How good the verifier's decisions are where the truth is known: before and after it, by h, by threshold, by margin.

`accuracy_before` is the share of decided pairs, of every decision, whose normal answer is the better one;
`accuracy_after` that of decided pairs among kept and swapped ones whose chosen answer is. `swap_precision` is the share
of decided swapped pairs whose injected answer is the better one; `swap_recall` the share of all pairs whose injected
answer is the better one that were swapped. Which pairs are decided is said in `trainer.evaluation.truth`. Pairs about
one image hang together, so the intervals draw images again.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from pairs.metrics import Share
from pairs.model import Decision
from trainer.evaluation.roc import Roc, roc
from trainer.evaluation.shares import Counts, Figures, Floats, Shares, estimate
from trainer.evaluation.truth import JudgedPair

_VALUES_SHOWN = 8
"""So many distinct ratios are a bin each; more are parted into QUANTILES bins of about equal size."""
QUANTILES = 5
THRESHOLDS = 10


class PairCounts(NamedTuple):
    """The counts of one pair, or of several added up. `*_decided`: the truth has an order; `*_right`: it is the one
    expected (before), made (after), or made by a swap; `injected_better`: a swap would be right."""

    pairs: int
    kept: int
    swapped: int
    discarded: int
    before_decided: int
    before_right: int
    after_decided: int
    after_right: int
    swapped_decided: int
    swapped_right: int
    injected_better: int


PAIR_SHARES: Shares = {
    "accuracy_before": Share({"before_right": 1}, {"before_decided": 1}),
    "accuracy_after": Share({"after_right": 1}, {"after_decided": 1}),
    "swap_precision": Share({"swapped_right": 1}, {"swapped_decided": 1}, of_nothing=1.0),
    "swap_recall": Share({"swapped_right": 1}, {"injected_better": 1}),
    "kept": Share({"kept": 1}, {"pairs": 1}),
    "swapped": Share({"swapped": 1}, {"pairs": 1}),
    "discarded": Share({"discarded": 1}, {"pairs": 1}),
}


@dataclass(frozen=True)
class RatioBin:
    """Some pairs, and the least and the greatest h of theirs."""

    low: float
    high: float
    pairs: int
    figures: Figures


@dataclass(frozen=True)
class AtThreshold:
    """What the verifier would have decided with this threshold."""

    threshold: float
    figures: Figures


@dataclass(frozen=True)
class Verification:
    """All that is known of a set of judged pairs; `roc` is None where the truth has only one order, or none."""

    pairs: int
    figures: Figures
    by_ratio: tuple[RatioBin, ...]
    by_threshold: tuple[AtThreshold, ...]
    roc: Roc | None


def verification(pairs: Sequence[JudgedPair], seed: int) -> Verification:
    """Everything, with the bins and thresholds that the pairs themselves suggest. Raises ValueError for no pairs."""
    return Verification(
        len(pairs),
        figures(pairs, seed),
        by_ratio(pairs, seed),
        by_threshold(pairs, suggested_thresholds(pairs), seed),
        roc(pairs, seed),
    )


def figures(pairs: Sequence[JudgedPair], seed: int) -> Figures:
    """The figures of PAIR_SHARES under the decisions that the pairs have."""
    counted = Counts.added_up(PairCounts._fields, ((judged.image, _counts(judged)) for judged in pairs))
    return estimate(counted, PAIR_SHARES, seed)


def by_ratio(pairs: Sequence[JudgedPair], seed: int) -> tuple[RatioBin, ...]:
    """The figures by hallucination ratio, lowest first; pairs without one (a misleading prompt) are in no bin."""
    with_ratio = [(judged.pair.ratio, judged) for judged in pairs if judged.pair.ratio is not None]
    edges = _edges([ratio for ratio, _ in with_ratio])
    number = np.searchsorted(edges[1:-1], [ratio for ratio, _ in with_ratio], side="right")
    bins: list[RatioBin] = []
    for one in range(len(edges) - 1):
        inside = [item for item, its in zip(with_ratio, number, strict=True) if its == one]
        if inside:
            ratios, members = zip(*inside, strict=True)
            bins.append(RatioBin(min(ratios), max(ratios), len(members), figures(members, seed)))
    return tuple(bins)


def _edges(ratios: Sequence[float]) -> Floats:
    """The edges of bins [edge, next): one for each ratio where there are few, else about equally many pairs in each."""
    distinct = np.unique(ratios).astype(np.float64)
    if len(distinct) > _VALUES_SHOWN:
        return np.unique(np.quantile(ratios, np.linspace(0, 1, QUANTILES + 1)))
    return np.append(distinct, np.inf)


def at_threshold(judged: JudgedPair, threshold: float) -> JudgedPair:
    """The pair as it would have been decided: its margin's size must be above the threshold (METHOD, section 2).

    A pair that was discarded for what its answers are (equal, empty, cut off) stays so.
    """
    margin = judged.pair.deciding_margin
    decision = Decision.DISCARDED
    if margin is not None and abs(margin) > threshold:
        decision = Decision.KEPT if margin > 0 else Decision.SWAPPED
    return replace(judged, pair=replace(judged.pair, decision=decision))


def by_threshold(pairs: Sequence[JudgedPair], thresholds: Sequence[float], seed: int) -> tuple[AtThreshold, ...]:
    return tuple(
        AtThreshold(threshold, figures([at_threshold(judged, threshold) for judged in pairs], seed))
        for threshold in thresholds
    )


def suggested_thresholds(pairs: Sequence[JudgedPair]) -> list[float]:
    """0, and the deciles of the margins' sizes: cosines of different encoders lie differently close together."""
    sizes = [abs(margin) for judged in pairs if (margin := judged.pair.deciding_margin) is not None]
    if not sizes:
        return [0.0]
    return [0.0, *map(float, np.quantile(sizes, np.arange(1, THRESHOLDS) / THRESHOLDS))]


def _counts(judged: JudgedPair) -> PairCounts:
    decision, is_normal_better = judged.pair.decision, judged.is_normal_better
    is_decided = is_normal_better is not None
    is_made = decision is not Decision.DISCARDED and is_decided
    is_swapped = decision is Decision.SWAPPED
    return PairCounts(
        pairs=1,
        kept=int(decision is Decision.KEPT),
        swapped=int(is_swapped),
        discarded=int(decision is Decision.DISCARDED),
        before_decided=int(is_decided),
        before_right=int(is_normal_better is True),
        after_decided=int(is_made),
        after_right=int(is_made and is_normal_better is not is_swapped),
        swapped_decided=int(is_swapped and is_decided),
        swapped_right=int(is_swapped and is_normal_better is False),
        injected_better=int(is_normal_better is False),
    )
