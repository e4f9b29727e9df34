"""How a run of many images is shown: a bar at a terminal, a line now and then elsewhere."""

import time
from collections.abc import Iterable, Iterator

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from judgefree.submission import Outcome, Tally

_LINE_EVERY_S = 5.0


def follow(outcomes: Iterable[Outcome], total: int, tally: Tally, console: Console) -> Iterator[Outcome]:
    """Show the outcomes as they pass, and count them in `tally`."""
    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"))
    bar = Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=console, transient=True)
    task = bar.add_task("", total=total)
    last_line = time.monotonic()
    if console.is_terminal:
        bar.start()
    try:
        for outcome in outcomes:
            tally.add(outcome)
            bar.update(task, advance=1, description=summary(tally))
            if not console.is_terminal and time.monotonic() - last_line > _LINE_EVERY_S:
                last_line = time.monotonic()
                console.print(f"{tally.finished + len(tally.failures)} of {total}: {summary(tally)}")
            yield outcome
    finally:
        if console.is_terminal:
            bar.stop()


def summary(tally: Tally) -> str:
    parts = [f"{count} {decision}" for decision, count in sorted(tally.decisions.items())]
    if tally.were_there:
        parts.append(f"{tally.were_there} from an earlier run")
    if tally.failures:
        parts.append(f"{len(tally.failures)} failed")
    return ", ".join(parts) or "none yet"
