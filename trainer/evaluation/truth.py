"""Which of a pair's two answers is really the better one, where the objects of its image are known.

How ties count: an answer is measured by its object precision, then, where that is equal, by its object F1. A pair whose
answers are equal in both is *undecided*: there is no right order, and it enters no accuracy.
"""

import hashlib
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from pairs.metrics import is_better, object_score
from trainer.evaluation.dataset import DataSet, Example
from trainer.evaluation.errors import UnreadableDataSet
from trainer.evaluation.finished import FinishedPair


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
    pair has no more. Raises UnreadableDataSet where no pair is about an image of the data set, or an image cannot be
    read.
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
    by_pixels: Mapping[str, Example]
    by_file: Mapping[str, Example]

    @classmethod
    def of(cls, dataset: DataSet) -> "_Images":
        names = [example.image.name for example in dataset]
        if len(set(names)) < len(names):  # folders tell them apart, and a pair's file may be told from anywhere
            names = [example.id for example in dataset]
        by_pixels = {_pixels_of(_read(example.image), str(example.image)): example for example in dataset}
        return cls(by_pixels, dict(zip(names, dataset, strict=True)))

    def find(self, pair: FinishedPair) -> Example | None:
        if pair.image is not None:
            return self.by_pixels.get(_pixels_of(pair.image, f"of pair {pair.id}"))
        if pair.file is None:
            return None
        return self.by_file.get(Path(pair.file).name) or self.by_file.get(pair.file)


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise UnreadableDataSet(f"Image {file} cannot be read: {error.strerror}.") from error


def _pixels_of(content: bytes, name: str) -> str:
    """A digest of an image's size and RGB pixels."""
    try:
        image = Image.open(io.BytesIO(content)).convert("RGB")
    except (UnidentifiedImageError, OSError, ValueError) as error:
        raise UnreadableDataSet(f"Image {name} is none that can be read.") from error
    return hashlib.sha256(f"{image.size}".encode() + image.tobytes()).hexdigest()
