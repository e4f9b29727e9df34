"""What a person at the terminal sees of a run: a bar for the phase that goes on, a line for each that is done, a table
of all rounds at the end."""

import math
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from judgefree.improvement.asked import Asked
from judgefree.improvement.figures import SHOWN, changes
from pairs.runs import ImprovementRun, Phase, Round

TITLES = {
    Phase.GENERATING: "making pairs",
    Phase.TRAINING: "training",
    Phase.EVALUATING: "evaluating",
    Phase.JUDGING: "judging",
}
_WIDTH = max(map(len, TITLES.values()))
_PIPE_COLUMNS = 120
"""Of a table that goes to a file or a pipe."""


class Lines:
    """A line for each phase that is done, with its time and what came of it; a bar while one goes on."""

    def __init__(self, console: Console) -> None:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[said]}"),
        )
        self._console = console
        self._bar = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
        self._task = self._bar.add_task("", total=None, said="")
        self._title = ""

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def phase(self, run: ImprovementRun, current: Round) -> None:
        self._title = title_of(run, current, current.phase)
        self._bar.remove_task(self._task)  # a task that has had a total cannot be without one again
        self._task = self._bar.add_task(self._title, total=None, said="")

    def progress(self, done: int, total: int, said: str) -> None:
        count = f"{done} of {total}"
        self._bar.update(self._task, completed=done, total=total, said=f"{count}, {said}" if said else count)

    def done(self, run: ImprovementRun, current: Round, phase: Phase) -> None:
        said, *more = came_of(current, phase)
        self._console.print(f"{title_of(run, current, phase)}  {minutes(current.seconds[phase]):>5}  {said}".rstrip())
        for line in more:
            self._console.print(f"    {line}")


def title_of(run: ImprovementRun, current: Round, phase: Phase) -> str:
    rounds = Asked.model_validate(run.asked).rounds
    return f"round {current.number} of {rounds}  {TITLES[phase]:<{_WIDTH}}"


def came_of(current: Round, phase: Phase) -> list[str]:
    """What a phase came to: the first line stands beside its title, the others below."""
    match phase:
        case Phase.GENERATING:
            counts = ", ".join(f"{count} {decision}" for decision, count in current.decisions.items())
            ratio = "" if current.ratio_mean is None else f", ratio around {current.ratio_mean:g}"
            return [f"{sum(current.decisions.values())} pairs: {counts}{ratio}"]
        case Phase.TRAINING:
            return [str(current.adapter)]
        case Phase.EVALUATING:
            rows = [(name, change) for of in (current.evaluation, current.test) for name, change in changes(of)]
            width = max((len(name) for name, _ in rows), default=0)
            figures = [
                f"{name:<{width}}  " + "  ".join(f"{label} {change.said(key)}" for key, label in SHOWN)
                for name, change in rows
            ]
            return ["against the parent", *figures]
    return ["promoted" if current.is_promoted else "not promoted", *current.reasons]


def summary(run: ImprovementRun) -> Table:
    """All rounds that were judged, each with the figures of its data sets, the gate's first."""
    table = Table(title=f"Run {run.name}", title_justify="left", title_style="bold", box=None, pad_edge=False)
    for heading in ("round", "pairs"):
        table.add_column(heading, justify="right")
    table.add_column("data set")
    for _, label in SHOWN:
        table.add_column(label, no_wrap=True)
    table.add_column("promoted")
    table.add_column("seconds", justify="right")
    for one in run.rounds:
        if one.phase is not Phase.DONE:
            continue
        about = [str(one.number), str(sum(one.decisions.values()))]
        verdict = ["yes" if one.is_promoted else "no", f"{sum(one.seconds.values()):.0f}"]
        for index, (name, change) in enumerate((*changes(one.evaluation), *changes(one.test))):
            figures = [change.said(key) for key, _ in SHOWN]
            table.add_row(*(about if index == 0 else ["", ""]), name, *figures, *(verdict if index == 0 else ["", ""]))
    return table


def show_summary(console: Console, run: ImprovementRun) -> None:
    """Print the table: as wide as a page where no terminal says otherwise."""
    if not console.is_terminal:
        console.width = _PIPE_COLUMNS
    console.print(summary(run), soft_wrap=False)


def minutes(seconds: float) -> str:
    whole = math.floor(seconds)
    return f"{whole // 60}:{whole % 60:02}"
