"""The launcher with real processes: order, restarts, and nothing left behind however it ends."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

import psutil
import pytest

from judgefree.launcher.processes import open_scratch
from judgefree.launcher.stack import Part, Stack
from judgefree.launcher.supervision import Phase, Policy
from judgefree.mistakes import PartFailed
from tests.conftest import free_port
from tests.judgefree.little_launcher import little_part

ROOT = Path(__file__).parents[2]
QUICK = Policy(first_delay_s=0.05, longest_delay_s=0.2, grace_s=5)


class Notes:
    """A watcher that remembers."""

    def __init__(self) -> None:
        self.phases: list[tuple[str, Phase]] = []
        self.deaths: list[tuple[str, int, Sequence[str]]] = []
        self.ended: list[str] = []

    def changed(self, part: Part, phase: Phase) -> None:
        self.phases.append((part.name, phase))

    def died(self, part: Part, exit_code: int, delay_s: float, log: Path, last_lines: Sequence[str]) -> None:
        self.deaths.append((part.name, exit_code, last_lines))

    def ending(self, part: Part) -> None:
        self.ended.append(part.name)


def a_plan(name: str, **behaviour: Any) -> dict[str, object]:
    return {"name": name, "port": free_port()} | behaviour


def events(folder: Path, what: str) -> list[tuple[str, int]]:
    """The name and process id of each `what`, in order."""
    file = folder / "events"
    lines = [line.split() for line in file.read_text().splitlines()] if file.exists() else []
    return [(name, int(pid)) for name, event, pid in lines if event == what]


def is_running(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def all_pids(folder: Path) -> list[int]:
    return [pid for what in ("started", "child") for _, pid in events(folder, what)]


def eventually(holds: Callable[[], bool], timeout_s: float = 20) -> bool:
    deadline = time.monotonic() + timeout_s
    while not holds() and time.monotonic() < deadline:
        time.sleep(0.05)
    return holds()


async def run(folder: Path, plans: Sequence[dict[str, object]], work: Callable[[Stack], Any]) -> Notes:
    """Run little parts until `work`, begun when all are ready, is done."""
    notes = Notes()
    stack = Stack([little_part(plan, folder) for plan in plans], folder / "logs", notes, QUICK)
    await asyncio.wait_for(stack.run(lambda: work(stack)), 60)
    return notes


async def nothing(_stack: Stack) -> None:
    return


async def test_a_part_starts_when_what_it_needs_is_ready_and_ends_before_it(tmp_path: Path) -> None:
    plans = [a_plan("store", ready_after_s=0.5), a_plan("model"), a_plan("gateway", needs=["store"])]
    notes = await run(tmp_path, plans, nothing)
    ready = [name for name, phase in notes.phases if phase is Phase.READY]
    assert ready == ["model", "store", "gateway"]  # the model waited for nobody
    assert notes.ended == ["gateway", "model", "store"]
    assert [name for name, _ in events(tmp_path, "ended")] == ["gateway", "model", "store"]
    assert not any(map(is_running, all_pids(tmp_path)))


async def test_a_dead_part_is_started_again_and_said_so(tmp_path: Path) -> None:
    async def kill_and_wait(_stack: Stack) -> None:
        [(_, pid)] = events(tmp_path, "ready")
        os.kill(pid, signal.SIGKILL)
        await asyncio.to_thread(eventually, lambda: len(events(tmp_path, "ready")) == 2)

    notes = await run(tmp_path, [a_plan("model")], kill_and_wait)
    assert notes.deaths == [("model", -signal.SIGKILL, [])]
    assert len(events(tmp_path, "ready")) == 2


async def test_a_part_that_dies_while_it_starts_is_tried_again(tmp_path: Path) -> None:
    notes = await run(tmp_path, [a_plan("model", early_deaths=2)], nothing)
    assert notes.deaths == [("model", 1, ["model cannot go on"])] * 2


async def test_a_part_that_never_starts_ends_the_stack_with_its_reason(tmp_path: Path) -> None:
    with pytest.raises(PartFailed, match=r'model could not start .exit code 1 3 times.: "model cannot go on"'):
        await run(tmp_path, [a_plan("store"), a_plan("model", early_deaths=9)], nothing)
    assert len([name for name, _ in events(tmp_path, "started") if name == "model"]) == 3
    assert not any(map(is_running, all_pids(tmp_path)))


async def test_a_part_that_refuses_its_settings_is_not_tried_again(tmp_path: Path) -> None:
    with pytest.raises(PartFailed, match="exit code 2"):
        await run(tmp_path, [a_plan("model", early_deaths=9, exit_code=2)], nothing)
    assert len(events(tmp_path, "started")) == 1


async def test_what_a_dead_part_leaves_is_ended_before_it_starts_again(tmp_path: Path) -> None:
    async def kill_and_wait(_stack: Stack) -> None:
        [(_, pid)] = events(tmp_path, "ready")
        os.kill(pid, signal.SIGKILL)
        await asyncio.to_thread(eventually, lambda: len(events(tmp_path, "ready")) == 2)
        [(_, first_child), _] = events(tmp_path, "child")
        assert not is_running(first_child)

    await run(tmp_path, [a_plan("model", has_stubborn_child=True)], kill_and_wait)
    assert not any(map(is_running, all_pids(tmp_path)))


async def test_an_error_in_the_work_ends_the_stack_and_is_raised(tmp_path: Path) -> None:
    async def fail(_stack: Stack) -> None:
        raise LookupError("the work failed")

    with pytest.raises(LookupError, match="the work failed"):
        await run(tmp_path, [a_plan("model")], fail)
    assert not any(map(is_running, all_pids(tmp_path)))


class Launched:
    """A launcher as a process of its own, with a session of its own."""

    def __init__(self, folder: Path, plans: Sequence[dict[str, object]], grace_s: float = 5) -> None:
        self.folder = folder
        program = str(Path(__file__).with_name("little_launcher.py"))
        command = [sys.executable, program, str(folder), str(grace_s), *map(json.dumps, plans)]
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, env=environment, start_new_session=True
        )

    def wait_for(self, line: str) -> None:
        assert self.process.stdout is not None
        assert any(said.strip() == line for said in self.process.stdout), f"never said {line!r}"

    def has_left_nothing(self, timeout_s: float = 20) -> bool:
        return eventually(lambda: not any(map(is_running, all_pids(self.folder))), timeout_s)


SCRATCH = {"scratch_in": ["TMPDIR", "VLLM_RPC_BASE_PATH"]}


def sockets(folder: Path) -> list[Path]:
    """What the starts of a part with a temporary folder of its own have left there, one each."""
    return [Path(line) for line in (folder / "sockets").read_text().splitlines()]


async def test_each_start_has_a_temporary_folder_of_its_own_which_is_gone_after_it(tmp_path: Path) -> None:
    async def kill_and_wait(_stack: Stack) -> None:
        [first] = sockets(tmp_path)
        assert first.is_socket()
        [(_, pid)] = events(tmp_path, "ready")
        os.kill(pid, signal.SIGKILL)
        await asyncio.to_thread(eventually, lambda: len(events(tmp_path, "ready")) == 2)
        assert not first.parent.exists()

    await run(tmp_path, [a_plan("model", **SCRATCH)], kill_and_wait)
    first, second = sockets(tmp_path)
    assert first.parent != second.parent
    assert not second.parent.exists()


def test_a_temporary_folder_has_a_path_that_is_short_enough_for_a_socket(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / ("long" * 20)))
    with open_scratch() as scratch, socket.socket(socket.AF_UNIX) as bound:
        bound.bind(f"{scratch}/{uuid4()}")


STUBBORN = {"has_stubborn_child": True, "ignores_sigterm": True}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_one_signal_ends_all_in_order(tmp_path: Path, number: signal.Signals) -> None:
    launched = Launched(tmp_path, [a_plan("store"), a_plan("gateway", needs=["store"])])
    launched.wait_for("all ready")
    launched.process.send_signal(number)
    assert launched.process.wait(30) == 0
    assert [name for name, _ in events(tmp_path, "ended")] == ["gateway", "store"]
    assert launched.has_left_nothing(0)


def test_a_part_that_ignores_sigterm_is_killed_after_the_grace(tmp_path: Path) -> None:
    launched = Launched(tmp_path, [a_plan("model", **STUBBORN)], grace_s=1)
    launched.wait_for("all ready")
    launched.process.send_signal(signal.SIGINT)
    assert launched.process.wait(30) == 0
    assert launched.has_left_nothing(0)


def test_a_second_signal_hurries(tmp_path: Path) -> None:
    launched = Launched(tmp_path, [a_plan("model", **STUBBORN)], grace_s=300)
    launched.wait_for("all ready")
    launched.process.send_signal(signal.SIGINT)
    launched.wait_for("model ending")
    launched.process.send_signal(signal.SIGINT)
    assert launched.process.wait(30) == 0
    assert launched.has_left_nothing(0)


def test_a_signal_during_the_start_ends_what_was_started(tmp_path: Path) -> None:
    launched = Launched(tmp_path, [a_plan("store"), a_plan("model", ready_after_s=300, needs=["store"])])
    launched.wait_for("model starting")
    launched.process.send_signal(signal.SIGTERM)
    assert launched.process.wait(30) == 0
    assert launched.has_left_nothing(0)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the sweeper waits for its grace")
def test_a_killed_launcher_leaves_nothing(tmp_path: Path) -> None:
    launched = Launched(tmp_path, [a_plan("store"), a_plan("model", **STUBBORN, **SCRATCH)], grace_s=1)
    launched.wait_for("all ready")
    [left] = sockets(tmp_path)
    assert len(all_pids(tmp_path)) == 3
    launched.process.kill()
    launched.process.wait()
    assert launched.has_left_nothing()
    assert [name for name, _ in events(tmp_path, "ended")] == ["store"]  # in its own way, not by SIGKILL
    assert eventually(lambda: not left.parent.exists())


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ties a child to its parent")
def test_a_launcher_killed_together_with_its_sweeper_leaves_no_part(tmp_path: Path) -> None:
    launched = Launched(tmp_path, [a_plan("store"), a_plan("model")])
    launched.wait_for("all ready")
    children = psutil.Process(launched.process.pid).children()
    [sweeper] = [child for child in children if "sweeper.py" in " ".join(child.cmdline())]
    sweeper.kill()
    launched.process.kill()
    launched.process.wait()
    assert launched.has_left_nothing()
