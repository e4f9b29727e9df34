"""What a person sees while a model is asked: a bar at a terminal, a line now and then elsewhere."""

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from trainer.evaluation.task import Task

_LINE_EVERY_S = 5.0


class Bar:
    """How many of `total` answers have come, and of which task."""

    def __init__(self, console: Console, total: int) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
        self._bar = Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=console, transient=True)
        self._row = self._bar.add_task("", total=total)
        self._console = console
        self._last_line = time.monotonic()

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._console.is_terminal:
            self._bar.stop()

    def now_at(self, task: Task) -> Task:
        """Say that what comes now is of this task."""
        self._bar.update(self._row, description=task.name)
        return task

    def advance(self) -> None:
        self._bar.advance(self._row)
        if not self._console.is_terminal and time.monotonic() - self._last_line > _LINE_EVERY_S:
            self._last_line = time.monotonic()
            row = self._bar.tasks[0]
            self._console.print(f"{row.description}: {row.completed:.0f} of {row.total:.0f} answers")
