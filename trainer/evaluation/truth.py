"""Which of a pair's two answers is really the better one, where the objects of its image are known.

How ties count: an answer is measured by its object precision, then, where that is equal, by its object F1. A pair whose
answers are equal in both is *undecided*: there is no right order, and it enters no accuracy.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from pairs.metrics import is_better, object_score
from trainer.evaluation.dataset import DataSet, Example
from trainer.evaluation.errors import UnreadableDataSet
from trainer.evaluation.finished import FinishedPair
from trainer.evaluation.kept import can_be_kept_as, opened, read


@dataclass(frozen=True)
class JudgedPair:
    """A finished pair, the id of its image, and whether the normal answer is the better one; None: undecided."""

    pair: FinishedPair
    image: str
    is_normal_better: bool | None


@dataclass(frozen=True)
class Judged:
    """The pairs whose image is in the data set, and how many had another."""

    pairs: tuple[JudgedPair, ...]
    strangers: int


def judge(pairs: Iterable[FinishedPair], dataset: DataSet) -> Judged:
    """Hold pairs against the objects of their images.

    An image is found by its pixels, since the gateway keeps images in a form of its own, or by the file's name where a
    pair has no more. Raises UnreadableDataSet where no pair is about an image of the data set, the image of that name
    is not the pair's, or an image cannot be read.
    """
    known = _Images.of(dataset)
    judged: list[JudgedPair] = []
    strangers = 0
    for pair in pairs:
        example = known.find(pair)
        if example is None:
            strangers += 1
            continue
        ours, theirs = (
            object_score(dataset.vocabulary.mentions(text), example.objects) for text in (pair.normal, pair.injected)
        )
        judged.append(JudgedPair(pair, example.id, is_better(ours, theirs)))
    if not judged:
        raise UnreadableDataSet(f"None of {strangers} finished pairs is about an image of {dataset.name}.")
    return Judged(tuple(judged), strangers)


@dataclass(frozen=True)
class _Images:
    name: str
    by_pixels: Mapping[str, Example]
    by_file: Mapping[str, Example]

    @classmethod
    def of(cls, dataset: DataSet) -> "_Images":
        names = [example.image.name for example in dataset]
        if len(set(names)) < len(names):  # folders tell them apart, and a pair's file may be told from anywhere
            names = [example.id for example in dataset]
        by_pixels = {_pixels_of(read(example.image), str(example.image)): example for example in dataset}
        return cls(dataset.name, by_pixels, dict(zip(names, dataset, strict=True)))

    def find(self, pair: FinishedPair) -> Example | None:
        if pair.image is not None:
            return self.by_pixels.get(_pixels_of(pair.image, f"of pair {pair.id}"))
        if pair.file is None:
            return None
        example = self.by_file.get(Path(pair.file).name) or self.by_file.get(pair.file)
        if example is not None and pair.kept is not None and not can_be_kept_as(example.image, pair.kept):
            raise UnreadableDataSet(
                f"Pair {pair.id} is about another image than {self.name} has under the name {example.image.name}; name "
                "the data set that the pairs were made of, or a file of `judgefree export`, which has the images."
            )
        return example


def _pixels_of(content: bytes, name: str) -> str:
    """A digest of an image's size and RGB pixels."""
    image = opened(content, name).convert("RGB")
    return hashlib.sha256(f"{image.size}".encode() + image.tobytes()).hexdigest()
