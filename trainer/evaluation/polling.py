"""Yes/no questions about objects: files in POPE's format, and the figures of the answers.

POPE is of Li et al., "Evaluating Object Hallucination in Large Vision-Language Models" (2023). Its figures are those of
"yes" as the positive class. Questions about one image hang together, so the intervals draw images again.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from pairs.metrics import Share
from pairs.model import RawAnswer
from trainer.evaluation.asking import Question
from trainer.evaluation.errors import UnreadableDataSet
from trainer.evaluation.rows import Row, read_rows, text_of
from trainer.evaluation.shares import Counts, Shares

YesNo = Literal["yes", "no"]
FIELDS = frozenset({"image", "text", "label"})
"""What a row of such a file has, and a row of a list of images and objects has not."""

POLL_SHARES: Shares = {
    "accuracy": Share({"true_yes": 1, "true_no": 1}, {"questions": 1}),
    "precision": Share({"true_yes": 1}, {"true_yes": 1, "false_yes": 1}, of_nothing=1.0),
    "recall": Share({"true_yes": 1}, {"true_yes": 1, "false_no": 1}),
    "f1": Share({"true_yes": 2}, {"true_yes": 2, "false_yes": 1, "false_no": 1}),
    "yes_ratio": Share({"true_yes": 1, "false_yes": 1}, {"questions": 1}),
}

_NO = re.compile(r"\b(?:no|not)\b")


class PollCounts(NamedTuple):
    """The counts of one question, or of several added up: `true_yes` is yes rightly said, `false_yes` wrongly."""

    questions: int
    true_yes: int
    false_yes: int
    true_no: int
    false_no: int


@dataclass(frozen=True)
class PollItem:
    """A question, what is right, and the image's name in the file."""

    question: Question
    label: YesNo
    image: str


@dataclass(frozen=True)
class Poll:
    """The task of answering every question of a file, as `trainer.evaluation.task` wants it."""

    name: str
    items: tuple[PollItem, ...]
    shares = POLL_SHARES
    unit = "images"

    def questions(self, prompt: str) -> list[Question]:
        """The file's own questions: `prompt` is for tasks that have none."""
        return [item.question for item in self.items]

    def counts(self, answers: Sequence[RawAnswer]) -> Counts:
        """The counts of each image, its questions added up. Raises ValueError where answers are missing."""
        counted = (
            (item.image, _counts(item.label, said(answer.text)))
            for item, answer in zip(self.items, answers, strict=True)
        )
        return Counts.added_up(PollCounts._fields, counted)

    def remarks(self, answers: Sequence[RawAnswer]) -> list[dict[str, Any]]:
        """The true answer and how the given one was read."""
        return [
            {"label": item.label, "said": said(answer.text)} for item, answer in zip(self.items, answers, strict=True)
        ]

    def sample(self, count: int, seed: int) -> "Poll":
        """All questions about at most `count` of the images."""
        images = list(dict.fromkeys(item.image for item in self.items))
        if count >= len(images):
            return self
        drawn = np.random.default_rng(seed).choice(len(images), size=count, replace=False)
        kept = {images[index] for index in drawn}
        return replace(self, items=tuple(item for item in self.items if item.image in kept))


def said(text: str) -> YesNo:
    """How POPE reads an answer: no if its first sentence has the word "no" or "not", else yes; case does not matter."""
    return "no" if _NO.search(text.partition(".")[0].casefold()) else "yes"


def read_poll(file: Path, name: str | None = None, images: Path | None = None) -> Poll:
    """The questions of a JSON-lines file {"question_id", "image", "text", "label": "yes" or "no"}.

    Paths of images are relative to `images`, or to the folder of `file`. Raises UnreadableDataSet where a row is of
    another form, or there is none.
    """
    items = tuple(_item(where, row, images or file.parent) for where, row in read_rows(file))
    if not items:
        raise UnreadableDataSet(f"{file} has no questions.")
    return Poll(name or str(file), items)


def _item(where: str, row: Row, folder: Path) -> PollItem:
    image, text, label = (text_of(where, row, name) for name in ("image", "text", "label"))
    if label not in ("yes", "no"):
        raise UnreadableDataSet(f'{where}: "label" is {label!r}, not yes or no.')
    return PollItem(Question(folder / image, text), "yes" if label == "yes" else "no", image)


def _counts(label: YesNo, answer: YesNo) -> PollCounts:
    return PollCounts(
        questions=1,
        true_yes=int(answer == label == "yes"),
        false_yes=int(answer == "yes" and label == "no"),
        true_no=int(answer == label == "no"),
        false_no=int(answer == "no" and label == "yes"),
    )
