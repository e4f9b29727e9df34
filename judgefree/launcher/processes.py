"""A child process in a session of its own, its log, and its end with all that it started."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir
from typing import Self

import psutil

_HERE = Path(__file__).parent
_LARGEST_LOG_BYTES = 20 * 2**20
_TICK_S = 0.05
_SCRATCH_PREFIX = "jf-"
_SOCKET_BYTES = 103
"""The longest path of a Unix socket on macOS; Linux takes 107."""
_IN_SCRATCH = f"/{_SCRATCH_PREFIX}12345678/12345678-1234-1234-1234-123456789012"


@dataclass
class Child:
    """A running part. Its process id is also the id of its process group and of its session."""

    process: asyncio.subprocess.Process
    log: Path
    log_start: int
    scratch: "TemporaryDirectory[str] | None" = None

    @classmethod
    async def start(
        cls, command: Sequence[str], environment: Mapping[str, str], log: Path, scratch_in: Sequence[str] = ()
    ) -> Self:
        """Start `command` with its output appended to `log`.

        The child gets a session of its own, so that Ctrl-C in the terminal reaches the launcher alone, and a tether,
        so that the death of the launcher ends it. The variables in `scratch_in` name a temporary folder that is gone
        once the child has ended.
        """
        _rotate(log)
        scratch = open_scratch() if scratch_in else None
        names = dict.fromkeys(scratch_in, scratch.name) if scratch else {}
        with log.open("ab") as output:
            start = output.tell()  # before the child shares the file's position
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", "-S", str(_HERE / "tether.py"), str(os.getpid()), *command),
                env={**environment, **names},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            return cls(process, log, start, scratch)

    @property
    def group(self) -> int:
        return self.process.pid

    async def end(self, grace_s: float, hurry: asyncio.Event) -> None:
        """SIGTERM, and SIGKILL to what is left after `grace_s` or when told to hurry.

        The part itself is told first, since one that has children, as vLLM has, ends them in order; what outlasts it
        is told then.
        """
        deadline = time.monotonic() + grace_s
        if self.process.returncode is None:
            self.process.terminate()
        await _until(lambda: self.process.returncode is not None, deadline, hurry)
        _signal_group(self.group, signal.SIGTERM)
        await _until(lambda: not self.is_any_left(), deadline, hurry)
        await self.kill()

    async def kill(self) -> None:
        """SIGKILL to what is left of the group; returns when nothing is, nor of its temporary folder."""
        while self.is_any_left():
            _signal_group(self.group, signal.SIGKILL)
            await asyncio.sleep(_TICK_S)
        await self.process.wait()
        if self.scratch:
            self.scratch.cleanup()

    def is_any_left(self) -> bool:
        """Whether a process of this group still runs. A zombie does not: it only waits for its parent to look."""
        try:
            os.killpg(self.group, 0)
        except ProcessLookupError:
            return False
        return any(_is_running_in(self.group, process) for process in psutil.process_iter())

    def last_lines(self, count: int) -> list[str]:
        """The last lines that this child wrote, without empty ones."""
        with self.log.open("rb") as file:
            file.seek(self.log_start)
            lines = (line.decode(errors="replace").rstrip() for line in file)
            return list(deque((line for line in lines if line), maxlen=count))


def open_scratch() -> "TemporaryDirectory[str]":
    """A new temporary folder whose path is short enough for a Unix socket with a UUID for a name."""
    usual = gettempdir()
    is_short = len(os.fsencode(usual + _IN_SCRATCH)) <= _SOCKET_BYTES
    return TemporaryDirectory(
        prefix=_SCRATCH_PREFIX,
        dir=usual if is_short else "/tmp",
        ignore_cleanup_errors=True,
    )


async def _until(holds: Callable[[], bool], deadline: float, hurry: asyncio.Event) -> None:
    while not holds() and time.monotonic() < deadline and not hurry.is_set():
        with suppress(TimeoutError):
            await asyncio.wait_for(hurry.wait(), _TICK_S)


def start_sweeper(grace_s: float) -> "subprocess.Popen[bytes]":
    """The process that ends what a killed launcher leaves; tell it of children with `announce`."""
    return subprocess.Popen(
        [sys.executable, "-I", "-S", str(_HERE / "sweeper.py"), str(grace_s)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )


def announce(sweeper: "subprocess.Popen[bytes]", sign: str, child: Child) -> None:
    """Tell the sweeper that a child, with its temporary folder, has come (`+`) or is gone (`-`)."""
    if sweeper.stdin is None:
        raise ValueError("the sweeper was started without a pipe")
    with suppress(BrokenPipeError):  # somebody killed it: the tethers still hold, and the stack need not fall for it
        sweeper.stdin.write(os.fsencode(f"{sign}{child.group} {child.scratch.name if child.scratch else ''}\n"))
        sweeper.stdin.flush()


def _is_running_in(group: int, process: psutil.Process) -> bool:
    try:
        return os.getpgid(process.pid) == group and process.status() != psutil.STATUS_ZOMBIE
    except (ProcessLookupError, psutil.NoSuchProcess):
        return False


def _signal_group(group: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.killpg(group, number)


def _rotate(log: Path) -> None:
    log.parent.mkdir(parents=True, exist_ok=True)
    if log.exists() and log.stat().st_size > _LARGEST_LOG_BYTES:
        log.replace(log.with_suffix(".log.1"))
