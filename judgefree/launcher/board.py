"""What the launcher tells the person at the terminal: a live line a part, or plain lines where there is no terminal."""

import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from judgefree.launcher.logs import doing, tail
from judgefree.launcher.stack import Part
from judgefree.launcher.supervision import Phase, signal_name

_MARKS = {
    Phase.WAITING: ("·", "dim"),
    Phase.STARTING: ("◐", "yellow"),
    Phase.READY: ("●", "green"),
    Phase.BACKING_OFF: ("◌", "red"),
    Phase.GIVEN_UP: ("✗", "red"),
}
_SLOW_S = 5.0
"""A part that starts for longer shows what it is doing, a download for instance."""


class Board:
    """The state of every part and for how long it has been in it. A `Watcher` of a `Stack`.

    How long it took until a part was ready counts from the start of all, or from its death where it had been ready.
    """

    def __init__(self, console: Console, logs: Path) -> None:
        self.console = console
        self._logs = logs
        self._began = time.monotonic()
        self._awaited_since: dict[str, float] = {}
        self._starting: dict[str, tuple[Part, int]] = {}
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
        present = time.monotonic()
        self._rows[part.name] = (part.title, Text.assemble((mark, style), f" {phase}"), present)
        self._starting.pop(part.name, None)
        if phase is Phase.WAITING:
            self._awaited_since[part.name] = self._began
        elif phase is Phase.BACKING_OFF:
            self._awaited_since.setdefault(part.name, present)
        elif phase is Phase.READY:
            self.say(f"{part.title}: ready after {present - self._awaited_since.pop(part.name):.1f} s")
        elif phase is Phase.STARTING:
            log = self._log(part.name)
            self._starting[part.name] = (part, log.stat().st_size if log.exists() else 0)
            if not self.console.is_terminal:
                self.say(f"{part.title}: starting" + (f" ({part.usual_start})" if part.usual_start else ""))

    def died(self, part: Part, exit_code: int, delay_s: float, log: Path, last_lines: Sequence[str]) -> None:
        end = f"ended with exit code {exit_code}" if exit_code >= 0 else f"was killed ({signal_name(-exit_code)})"
        self.say(f"{part.title} {end}; starting it again in {delay_s:.1f} s. Its log is {log}")
        is_cut = self.console.is_terminal  # the log has the whole line
        for line in last_lines:
            said = Text(f"    {line}", style="dim")
            self.console.print(said, soft_wrap=not is_cut, no_wrap=True, overflow="ellipsis" if is_cut else "ignore")

    def ending(self, part: Part) -> None:
        self._starting.pop(part.name, None)
        self._rows[part.name] = (part.title, Text.assemble(("◌", "dim"), " ending"), time.monotonic())
        if not self.console.is_terminal:
            self.say(f"{part.title}: ending")

    def _table(self) -> Table:
        table = Table.grid(padding=(0, 2))
        for name, (title, state, since) in self._rows.items():
            took_s = time.monotonic() - since
            told = Text(self._of_the_start(name, took_s), "dim", no_wrap=True, overflow="ellipsis")
            table.add_row(title, state, Text(f"{took_s:.0f} s", "dim"), told)
        return table

    def _of_the_start(self, name: str, took_s: float) -> str:
        """How long a start usually takes, and of a slow one what it is doing; empty for a part that does not start."""
        if name not in self._starting:
            return ""
        part, log_start = self._starting[name]
        log = self._log(name)
        now_doing = doing(tail(log, log_start)) if took_s > _SLOW_S and log.exists() else ""
        return "; ".join(filter(None, (part.usual_start, now_doing)))

    def _log(self, name: str) -> Path:
        return self._logs / f"{name}.log"
