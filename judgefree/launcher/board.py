"""What the launcher tells the person at the terminal: a live line a part, or plain lines where there is no terminal."""

import time
from collections.abc import Sequence
from os import SEEK_END
from pathlib import Path
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from judgefree.launcher.stack import Part
from judgefree.launcher.supervision import Phase

_MARKS = {
    Phase.WAITING: ("·", "dim"),
    Phase.STARTING: ("◐", "yellow"),
    Phase.READY: ("●", "green"),
    Phase.BACKING_OFF: ("◌", "red"),
    Phase.GIVEN_UP: ("✗", "red"),
}
_SLOW_S = 5.0
"""A part that starts for longer shows what it is doing, a download for instance."""
_TAIL_BYTES = 2000


class Board:
    """The state of every part and for how long it has been in it. A `Watcher` of a `Stack`."""

    def __init__(self, console: Console, logs: Path) -> None:
        self.console = console
        self._logs = logs
        self._starting: set[str] = set()
        self._rows: dict[str, tuple[str, Text, float]] = {}
        self._live = Live(get_renderable=self._table, console=console, refresh_per_second=4, transient=True)

    def __enter__(self) -> Self:
        if self.console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.rest()

    def rest(self) -> None:
        """Give the terminal's live region to somebody else; lines are still said."""
        self._live.stop()

    def say(self, line: str) -> None:
        self.console.print(line)

    def changed(self, part: Part, phase: Phase) -> None:
        mark, style = _MARKS[phase]
        took_s = self._elapsed_s(part)
        (self._starting.add if phase is Phase.STARTING else self._starting.discard)(part.name)
        self._rows[part.name] = (part.title, Text.assemble((mark, style), f" {phase}"), time.monotonic())
        if phase is Phase.READY:
            self.say(f"{part.title}: ready after {took_s:.1f} s")
        elif phase is Phase.STARTING and not self.console.is_terminal:
            self.say(f"{part.title}: starting")

    def died(self, part: Part, exit_code: int, delay_s: float, log: Path, last_lines: Sequence[str]) -> None:
        self.say(
            f"{part.title} ended with exit code {exit_code}; starting it again in {delay_s:.1f} s. Its log is {log}"
        )
        for line in last_lines:
            self.console.print(Text(f"    {line}", style="dim"))

    def ending(self, part: Part) -> None:
        self._rows[part.name] = (part.title, Text.assemble(("◌", "dim"), " ending"), time.monotonic())
        if not self.console.is_terminal:
            self.say(f"{part.title}: ending")

    def _elapsed_s(self, part: Part) -> float:
        return time.monotonic() - self._rows[part.name][2] if part.name in self._rows else 0.0

    def _table(self) -> Table:
        table = Table.grid(padding=(0, 2))
        for name, (title, state, since) in self._rows.items():
            took_s = time.monotonic() - since
            is_slow = name in self._starting and took_s > _SLOW_S
            doing = last_line(self._logs / f"{name}.log") if is_slow else ""
            table.add_row(title, state, Text(f"{took_s:.0f} s", "dim"), Text(doing, "dim", no_wrap=True))
        return table


def last_line(log: Path) -> str:
    """The last line of a log, or what it holds of a progress bar that is drawn over and over."""
    with log.open("rb") as file:
        file.seek(max(0, file.seek(0, SEEK_END) - _TAIL_BYTES))
        lines = file.read().decode(errors="replace").replace("\r", "\n").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "")
