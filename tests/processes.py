"""Real parts as real processes: started with settings of the test's own, ended with everything they started."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx

ROOT = Path(__file__).parent.parent


def answers(url: str, timeout_s: float, is_alive: Callable[[], bool]) -> bool:
    """Whether `url` is answered with success within `timeout_s`, while what should answer is alive."""
    deadline = time.monotonic() + timeout_s
    with httpx.Client(timeout=5, verify=False) as http:  # certificates take 25 ms to read, each time
        while is_alive() and time.monotonic() < deadline:
            with suppress(httpx.TransportError):  # not listening yet
                if http.get(url).is_success:
                    return True
            time.sleep(0.1)
    return False


def eventually(holds: Callable[[], bool], timeout_s: float) -> bool:
    """Whether it holds within `timeout_s`; for tests that are not asynchronous."""
    deadline = time.monotonic() + timeout_s
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


@dataclass
class Part:
    """A running part; `log` holds what it printed."""

    process: "subprocess.Popen[bytes]"
    ready_url: str
    log: Path

    def wait_until_ready(self, timeout_s: float = 60) -> None:
        """Raises RuntimeError with the end of the log when the part ends or is not ready in time."""
        if answers(self.ready_url, timeout_s, lambda: self.process.poll() is None):
            return
        if self.process.returncode is not None:
            raise RuntimeError(f"{self.process.args!r} ended with {self.process.returncode}:\n{self.tail()}")
        raise RuntimeError(f"{self.ready_url} is not ready after {timeout_s} s:\n{self.tail()}")

    def kill(self) -> None:
        """kill -9, everything that the part started included."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def end(self, timeout_s: float = 30) -> int:
        """SIGTERM, then wait; returns the exit status. Whatever outlasts the part is killed."""
        self.process.terminate()
        try:
            return self.process.wait(timeout_s)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def tail(self, lines: int = 30) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])


def start_part(module: str, arguments: list[str], environment: Mapping[str, str], ready_url: str, log: Path) -> Part:
    """Start `python -m module` in a process group of its own."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("JUDGEFREE_")}
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            cwd=ROOT,
            env=clean | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"} | dict(environment),
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    return Part(process, ready_url, log)


@contextmanager
def running_part(
    module: str,
    arguments: list[str],
    environment: Mapping[str, str],
    ready_url: str,
    log: Path,
    timeout_s: float = 60,
) -> Iterator[Part]:
    """A part that is ready, and gone afterwards."""
    part = start_part(module, arguments, environment, ready_url, log)
    try:
        part.wait_until_ready(timeout_s)
        yield part
    finally:
        if part.process.poll() is None:
            part.end()
