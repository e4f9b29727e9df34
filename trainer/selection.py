"""Which of the rows are trained on, and which are held out: pure, and the same for the same rows in any order."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from hashlib import sha256

from pairs.model import Verdict
from pairs.store import PairFilter
from trainer.rows import Row

TRAINABLE = (Verdict.KEEP, Verdict.SWAP)
"""The verdicts whose pairs have a chosen and a rejected answer. A person's review is the verdict where there is one."""


@dataclass(frozen=True)
class Selection:
    """What is asked of the rows.

    `query` is what the store is asked for, and with `ids` only the pairs of these ids are looked at. Of what it gives:
    at most `max_margin` in size, at most `per_image` rows an image and `per_policy` a policy, as many of each injection
    method where `balance_methods`, and at most `count` rows in all; which ones is drawn by `seed`. A share `held_out`
    of the *images* is not trained on.
    """

    query: PairFilter = field(default_factory=lambda: PairFilter(verdicts=TRAINABLE))
    max_margin: float | None = None
    per_image: int | None = None
    per_policy: int | None = None
    balance_methods: bool = False
    count: int | None = None
    held_out: float = 0.0
    seed: int = 0
    ids: frozenset[str] | None = None


@dataclass(frozen=True)
class _Label:
    """What the selection looks at: all that is kept in memory of a row, some 300 bytes."""

    id: str
    image_sha256: str
    method: str
    policy: str


def select(rows: Iterable[Row], asked: Selection) -> dict[str, bool]:
    """The ids of the selected rows, each with whether it is held out."""
    labels = [
        _Label(row.id, row.image_sha256, row.method, row.policy)
        for row in rows
        if (asked.max_margin is None or row.margin is None or abs(row.margin) <= asked.max_margin)
        and (asked.ids is None or row.id in asked.ids)
    ]
    labels.sort(key=lambda label: sha256(f"{asked.seed}:{label.id}".encode()).digest())
    labels = _at_most(labels, asked.per_image, "image_sha256")
    labels = _at_most(labels, asked.per_policy, "policy")
    if asked.balance_methods and labels:
        methods = Counter(label.method for label in labels)
        rarest = min(methods.values())
        share = rarest if asked.count is None else min(rarest, asked.count // len(methods))
        labels = _at_most(labels, share, "method")
    return {label.id: is_held_out(label.image_sha256, asked.held_out) for label in labels[: asked.count]}


def is_held_out(image_sha256: str, share: float) -> bool:
    """Whether an image is among the held-out ones: by its hash, so that it stays on its side for ever."""
    drawn = int.from_bytes(sha256(f"held out:{image_sha256}".encode()).digest()[:8])
    return drawn < share * 2**64


def _at_most(labels: list[_Label], most: int | None, of: str) -> list[_Label]:
    """The first `most` labels of each value of the attribute `of`; all if None."""
    if most is None:
        return labels
    met: Counter[str] = Counter()
    kept = []
    for label in labels:
        value = getattr(label, of)
        met[value] += 1
        if met[value] <= most:
            kept.append(label)
    return kept
