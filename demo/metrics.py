"""How good captions are against known objects: precision, recall, F1 and CHAIR.

All figures are over the whole set of captions: numerators and denominators are added up before they are divided.
CHAIR follows Rohrbach et al., "Object Hallucination in Image Captioning" (2018): CHAIR_i counts mentions, repeats
included; CHAIR_s counts captions. A ratio over nothing is 0, but precision over no mentions is 1: who says nothing
says nothing wrong.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import NamedTuple

from demo.captions import mentioned_objects


@dataclass(frozen=True)
class CaptionFigures:
    """Object figures of a set of captions; each is a share in [0, 1] but `mean_words`."""

    captions: int
    precision: float
    recall: float
    f1: float
    chair_i: float
    chair_s: float
    mean_words: float


class ObjectScore(NamedTuple):
    """Object precision and F1 of one text, ordered so that the better text compares greater."""

    precision: float
    f1: float


def precision(mentioned: AbstractSet[str], present: AbstractSet[str]) -> float:
    """Share of the mentioned objects that are present; 1 where nothing is mentioned."""
    return len(mentioned & present) / len(mentioned) if mentioned else 1.0


def recall(mentioned: AbstractSet[str], present: AbstractSet[str]) -> float:
    """Share of the present objects that are mentioned; 1 where nothing is present."""
    return len(mentioned & present) / len(present) if present else 1.0


def f1(mentioned: AbstractSet[str], present: AbstractSet[str]) -> float:
    """Harmonic mean of precision and recall: 2 x hits / (mentioned + present); 1 where both are empty."""
    total = len(mentioned) + len(present)
    return 2 * len(mentioned & present) / total if total else 1.0


def object_score(text: str, present: AbstractSet[str]) -> ObjectScore:
    mentioned = frozenset(mentioned_objects(text))
    return ObjectScore(precision(mentioned, present), f1(mentioned, present))


def set_f1(found: Iterable[AbstractSet[str]], present: Iterable[AbstractSet[str]]) -> float:
    """F1 of found objects over many images, hits and totals added up first."""
    hits = total = 0
    for seen, there in zip(found, present, strict=True):
        hits += len(seen & there)
        total += len(seen) + len(there)
    return 2 * hits / total if total else 1.0


def caption_figures(texts: Sequence[str], present: Sequence[AbstractSet[str]]) -> CaptionFigures:
    """All figures of captions against the objects of their images, in the same order.

    Raises ValueError when the two differ in length.
    """
    mentions = [mentioned_objects(text) for text in texts]
    pairs = list(zip(mentions, present, strict=True))
    hits = sum(len(set(said) & there) for said, there in pairs)
    named = sum(len(set(said)) for said, _ in pairs)
    standing = sum(len(there) for there in present)
    wrong = [sum(name not in there for name in said) for said, there in pairs]
    return CaptionFigures(
        captions=len(texts),
        precision=hits / named if named else 1.0,
        recall=_share(hits, standing),
        f1=_share(2 * hits, named + standing),
        chair_i=_share(sum(wrong), sum(len(said) for said in mentions)),
        chair_s=_share(sum(count > 0 for count in wrong), len(texts)),
        mean_words=_share(sum(len(text.split()) for text in texts), len(texts)),
    )


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0
