"""How good captions are against known objects: precision, recall, F1 and CHAIR, whatever world the objects are of.

What a text mentions is found elsewhere; here are the counts of a caption and the figures that are shares of them. All
figures are over a whole set of captions: numerators and denominators are added up before they are divided. CHAIR
follows Rohrbach et al., "Object Hallucination in Image Captioning" (2018): CHAIR_i counts mentions, repeats included;
CHAIR_s counts captions. A share of nothing is 0, but precision over no mentions is 1: who says nothing says nothing
wrong.
"""

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import NamedTuple


class CaptionCounts(NamedTuple):
    """The counts of one caption, or of several added up.

    `hits`: distinct objects mentioned and present; `named`: distinct objects mentioned; `present`: objects in the
    image; `mentions` and `wrong`: mentions, and those of absent objects, repeats included; `hallucinating`: captions
    with a wrong mention; `truncated`: captions cut off at the answer's length.
    """

    captions: int
    hits: int
    named: int
    present: int
    mentions: int
    wrong: int
    hallucinating: int
    words: int
    truncated: int


class Share(NamedTuple):
    """A figure as a ratio of two weighted sums of counts, by the counts' names, and its value over nothing."""

    part: Mapping[str, int]
    whole: Mapping[str, int]
    of_nothing: float = 0.0


CAPTION_SHARES: Mapping[str, Share] = {
    "precision": Share({"hits": 1}, {"named": 1}, of_nothing=1.0),
    "recall": Share({"hits": 1}, {"present": 1}),
    "f1": Share({"hits": 2}, {"named": 1, "present": 1}),
    "chair_i": Share({"wrong": 1}, {"mentions": 1}),
    "chair_s": Share({"hallucinating": 1}, {"captions": 1}),
    "mean_words": Share({"words": 1}, {"captions": 1}),
    "truncated": Share({"truncated": 1}, {"captions": 1}),
}
"""The figures of captions as shares of CaptionCounts."""


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


def object_score(mentions: Iterable[str], present: AbstractSet[str]) -> ObjectScore:
    mentioned = frozenset(mentions)
    return ObjectScore(precision(mentioned, present), f1(mentioned, present))


def is_better(ours: ObjectScore, theirs: ObjectScore) -> bool | None:
    """Whether a text beats another: by object precision, then by F1; None where both are equal (undecided)."""
    return None if ours == theirs else ours > theirs


def caption_counts(
    mentions: Sequence[str], present: AbstractSet[str], words: int, *, is_truncated: bool = False
) -> CaptionCounts:
    """The counts of one caption of `words` words, with every object it mentions, in whatever order."""
    named = frozenset(mentions)
    wrong = sum(name not in present for name in mentions)
    return CaptionCounts(
        captions=1,
        hits=len(named & present),
        named=len(named),
        present=len(present),
        mentions=len(mentions),
        wrong=wrong,
        hallucinating=int(wrong > 0),
        words=words,
        truncated=int(is_truncated),
    )


def share_of(counts: Mapping[str, int], share: Share) -> float:
    """The value of a figure at these counts."""
    part, whole = (sum(weight * counts[name] for name, weight in side.items()) for side in share[:2])
    return part / whole if whole else share.of_nothing


def caption_figures(counts: Iterable[CaptionCounts]) -> CaptionFigures:
    """All figures of a set of captions, each caption given by its counts."""
    none = CaptionCounts(*[0] * len(CaptionCounts._fields))
    totals = CaptionCounts(*map(sum, zip(none, *counts, strict=True)))
    values = {name: share_of(totals._asdict(), share) for name, share in CAPTION_SHARES.items() if name != "truncated"}
    return CaptionFigures(captions=totals.captions, **values)
