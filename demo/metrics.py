"""How good captions of the demo world are against known objects: the figures of `pairs.metrics`.

What a caption mentions is found by `demo.captions.mentioned_objects`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet

from demo.captions import mentioned_objects
from pairs import metrics
from pairs.metrics import CaptionFigures, ObjectScore


def object_score(text: str, present: AbstractSet[str]) -> ObjectScore:
    return metrics.object_score(mentioned_objects(text), present)


def caption_figures(texts: Sequence[str], present: Sequence[AbstractSet[str]]) -> CaptionFigures:
    """All figures of captions against the objects of their images, in the same order.

    Raises ValueError when the two differ in length.
    """
    return metrics.caption_figures(
        metrics.caption_counts(mentioned_objects(text), there, words=len(text.split()))
        for text, there in zip(texts, present, strict=True)
    )


def set_f1(found: Iterable[AbstractSet[str]], present: Iterable[AbstractSet[str]]) -> float:
    """F1 of found objects over many images, hits and totals added up first."""
    hits = total = 0
    for seen, there in zip(found, present, strict=True):
        hits += len(seen & there)
        total += len(seen) + len(there)
    return 2 * hits / total if total else 1.0
