"""A task: questions about images, and the counts that answers to them come to. What one or two models make of it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self

from pairs.model import RawAnswer
from trainer.evaluation import shares
from trainer.evaluation.asking import Question
from trainer.evaluation.shares import Comparison, Counts, Figures, Shares


class Task(Protocol):
    """`unit` says what is counted and drawn again for the intervals (images, questions); `shares` are the figures."""

    @property
    def name(self) -> str: ...

    @property
    def unit(self) -> str: ...

    @property
    def shares(self) -> Shares: ...

    def questions(self, prompt: str) -> list[Question]:
        """What to ask, in order; `prompt` where the task has none of its own."""

    def counts(self, answers: Sequence[RawAnswer]) -> Counts:
        """The counts of the answers, which are in the order of the questions."""

    def remarks(self, answers: Sequence[RawAnswer]) -> list[dict[str, Any]]:
        """What is true of each question and said in its answer, as JSON, for who reads the answers."""

    def sample(self, count: int, seed: int) -> Self:
        """At most `count` of the questions, the same for the same seed."""


@dataclass(frozen=True)
class Result:
    """What came of a task: the figures of each model, and those of the first minus those of the second, if any."""

    name: str
    unit: str
    figures: dict[str, Figures]
    comparison: Comparison | None


Answer = Callable[[str, Sequence[Question]], list[RawAnswer]]
"""Asks a model, by its name, all questions."""


def evaluate(task: Task, models: Sequence[str], prompt: str, answer: Answer, seed: int) -> Result:
    """Ask one model or two all of a task's questions; `seed` draws the intervals."""
    questions = task.questions(prompt)
    counted = {model: task.counts(answer(model, questions)) for model in models}
    figures = {model: shares.estimate(counts, task.shares, seed) for model, counts in counted.items()}
    compared = None
    if len(counted) == 2:
        ours, theirs = counted.values()
        compared = shares.compare(ours, theirs, task.shares, seed)
    return Result(task.name, task.unit, figures, compared)
