"""A data set: images with known objects, and the words for them."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from trainer.evaluation.errors import UnreadableDataSet
from trainer.evaluation.vocabulary import ObjectVocabulary


@dataclass(frozen=True)
class Example:
    """An image file and the objects in it, by their names in the vocabulary; `id` is its own within the data set."""

    image: Path
    objects: frozenset[str]
    id: str


@dataclass(frozen=True)
class DataSet:
    """Images with known objects. Raises UnreadableDataSet where there is none, an id is there twice, or an object is
    not in the vocabulary: no caption could ever name it."""

    name: str
    examples: tuple[Example, ...]
    vocabulary: ObjectVocabulary

    def __post_init__(self) -> None:
        if not self.examples:
            raise UnreadableDataSet(f"{self.name} has no images.")
        seen: set[str] = set()
        for example in self.examples:
            if example.id in seen:
                raise UnreadableDataSet(f"{self.name} has image {example.id} twice.")
            seen.add(example.id)
            if strangers := example.objects - self.vocabulary.names:
                raise UnreadableDataSet(
                    f"{self.name}: image {example.id} has object {min(strangers)!r}, which is not in its vocabulary."
                )

    def __len__(self) -> int:
        return len(self.examples)

    def __iter__(self) -> Iterator[Example]:
        return iter(self.examples)

    def sample(self, count: int, seed: int) -> "DataSet":
        """At most `count` of the examples, drawn without replacement, in their order; the same for the same seed."""
        if count >= len(self):
            return self
        drawn = np.random.default_rng(seed).choice(len(self), size=count, replace=False)
        return replace(self, examples=tuple(self.examples[index] for index in sorted(drawn)))
