"""Captions of a data set against its objects: the counts of each image, their figures, and two models compared."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from pairs.metrics import CAPTION_SHARES, CaptionCounts, caption_counts
from pairs.model import RawAnswer
from trainer.evaluation import shares
from trainer.evaluation.asking import Question
from trainer.evaluation.dataset import DataSet
from trainer.evaluation.shares import Comparison, Counts, Figures

_CUT_OFF = "length"
"""vLLM's finish reason of an answer that ran into max_tokens."""


def counts(captions: Sequence[RawAnswer], dataset: DataSet) -> Counts:
    """The counts of each image's caption, the captions being in the order of the data set's images.

    A word is what white space parts. Raises ValueError where there is not a caption for each image.
    """
    rows = tuple(
        caption_counts(
            dataset.vocabulary.mentions(caption.text),
            example.objects,
            words=len(caption.text.split()),
            is_truncated=caption.finish_reason == _CUT_OFF,
        )
        for caption, example in zip(captions, dataset, strict=True)
    )
    return Counts(tuple(example.id for example in dataset), CaptionCounts._fields, rows)


def figures(of: Counts, seed: int) -> Figures:
    """`precision`, `recall`, `f1`, `chair_i`, `chair_s`, `mean_words` and `truncated`, each with its interval."""
    return shares.estimate(of, CAPTION_SHARES, seed)


def compare(ours: Counts, theirs: Counts, seed: int) -> Comparison:
    """The figures of our captions minus those of theirs on the same images. Raises NotComparable for others."""
    return shares.compare(ours, theirs, CAPTION_SHARES, seed)


@dataclass(frozen=True)
class Captioning:
    """The task of describing every image of a data set, as `trainer.evaluation.task` wants it."""

    dataset: DataSet
    shares = CAPTION_SHARES
    unit = "images"

    @property
    def name(self) -> str:
        return self.dataset.name

    def questions(self, prompt: str) -> list[Question]:
        return [Question(example.image, prompt) for example in self.dataset]

    def counts(self, answers: Sequence[RawAnswer]) -> Counts:
        return counts(answers, self.dataset)

    def remarks(self, answers: Sequence[RawAnswer]) -> list[dict[str, Any]]:
        """The image's `objects`, and the caption's `mentions` of objects, each {"object", "start", "end"}."""
        vocabulary = self.dataset.vocabulary
        return [
            {
                "objects": sorted(example.objects),
                "mentions": [asdict(mention) for mention in vocabulary.found_in(answer.text)],
            }
            for answer, example in zip(answers, self.dataset, strict=True)
        ]

    def sample(self, count: int, seed: int) -> "Captioning":
        return Captioning(self.dataset.sample(count, seed))
