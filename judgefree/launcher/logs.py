"""What a part's log says to a person: what it is doing now, and what is worth reading once it is dead."""

import json
import re
from collections.abc import Sequence
from os import SEEK_END
from pathlib import Path
from typing import Any

_TAIL_BYTES = 16_000
_SEVERE_LEVELS = frozenset({"warning", "error", "critical"})
_SEVERE = re.compile(r"\b(?:WARNING|ERROR|CRITICAL|FATAL)\b|^\[?[WEF]\d{4} |\w(?:Warning|Error|Exception): ")
"""Lines of Python's logging and warnings, of glog, and the last line of a traceback."""
_EXCEPTION = re.compile(r"^(?:\(.*?\) )?((?:\w+\.)*\w*(?:Error|Exception): .+)$")
_OF_THE_LOG = frozenset({"event", "level", "part", "logger", "timestamp", "exception"})


def tail(log: Path, start: int) -> list[str]:
    """The last lines of what was written to a log from byte `start` on; a progress bar has one for each drawing."""
    with log.open("rb") as file:
        size = file.seek(0, SEEK_END)
        since = start if start <= size else 0  # it was begun anew in between
        file.seek(max(since, size - _TAIL_BYTES))
        return file.read().decode(errors="replace").replace("\r", "\n").split("\n")


def doing(lines: Sequence[str]) -> str:
    """What a program does now: its last line that is no warning, nor the source code that Python shows below one."""
    told = (line for line in reversed(lines) if line.strip() and not line.startswith((" ", "\t")))
    return next((_event(line) for line in told if not is_severe(line)), "")


def telling(lines: Sequence[str], count: int) -> list[str]:
    """The last `count` lines of level warning or above, or where there are none, the last ones."""
    severe = [line for line in lines if is_severe(line)]
    return [plain(line) for line in (severe or lines)[-count:]]


def reason_in(lines: Sequence[str]) -> str | None:
    """The line that says why a program ended: its last exception, or else its last line."""
    raised = [found[1] for line in lines if (found := _EXCEPTION.match(line))]
    return raised[-1] if raised else plain(lines[-1]) if lines else None


def is_severe(line: str) -> bool:
    """Whether a line is of level warning or above."""
    entry = _entry(line)
    return _SEVERE.search(line) is not None if entry is None else entry.get("level") in _SEVERE_LEVELS


def plain(line: str) -> str:
    """A line for a person: of a JSON entry its event, what belongs to it, and the exception without its traceback."""
    entry = _entry(line)
    if entry is None:
        return line
    more = [f"{name} {value}" for name, value in entry.items() if name not in _OF_THE_LOG]
    raised = str(entry.get("exception", "")).rstrip().rpartition("\n")[2]
    return ": ".join(part for part in (str(entry["event"]), ", ".join(more), raised) if part)


def _event(line: str) -> str:
    entry = _entry(line)
    return line.strip() if entry is None else str(entry["event"])


def _entry(line: str) -> dict[str, Any] | None:
    """The fields of a line of our own log; None for any other line."""
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    return entry if isinstance(entry, dict) and "event" in entry else None
