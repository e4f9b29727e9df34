"""What the launcher shows of its parts."""

import io
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from judgefree.launcher.board import Board
from judgefree.launcher.probes import HttpProbe
from judgefree.launcher.stack import Part
from judgefree.launcher.supervision import Phase

STOPPED, LOADING = (f'{{"event": "{event}", "level": "info"}}\n' for event in ("stopped", "loading the model"))
Advance = Callable[[float], None]


def a_part(name: str, usual_start: str = "") -> Part:
    return Part(name, name, (), {}, HttpProbe("http://127.0.0.1:1/"), usual_start=usual_start)


@pytest.fixture
def said() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def advance(monkeypatch: pytest.MonkeyPatch) -> Advance:
    """Let time pass for the board."""
    present = 1000.0

    def pass_by(seconds: float) -> None:
        nonlocal present
        present += seconds

    monkeypatch.setattr("judgefree.launcher.board.time.monotonic", lambda: present)
    return pass_by


@pytest.fixture
def board(said: io.StringIO, advance: Advance, tmp_path: Path) -> Board:
    return Board(Console(file=said, markup=False, highlight=False, soft_wrap=True, width=100), tmp_path)


def shown(board: Board) -> str:
    """The live table, as a terminal would show it."""
    on = Console(file=io.StringIO(), width=100)
    with on.capture() as captured:
        on.print(board._table())
    return captured.get()


def test_how_long_each_part_took_counts_from_one_start(board: Board, advance: Advance, said: io.StringIO) -> None:
    mllm, gateway = a_part("vLLM"), a_part("gateway")
    for part in (mllm, gateway):
        board.changed(part, Phase.WAITING)
    board.changed(mllm, Phase.STARTING)
    advance(2)
    board.changed(gateway, Phase.STARTING)
    advance(30)
    board.changed(mllm, Phase.READY)
    advance(0.5)
    board.changed(gateway, Phase.READY)
    assert "vLLM: ready after 32.0 s\ngateway: ready after 32.5 s\n" in said.getvalue()


def test_of_a_part_that_died_it_counts_from_its_death(board: Board, advance: Advance, said: io.StringIO) -> None:
    part = a_part("verifier")
    for phase in (Phase.WAITING, Phase.STARTING, Phase.READY):
        board.changed(part, phase)
    advance(3600)
    for _ in range(2):
        board.changed(part, Phase.BACKING_OFF)
        advance(1)
        board.changed(part, Phase.STARTING)
        advance(2)
    board.changed(part, Phase.READY)
    assert said.getvalue().endswith("verifier: ready after 6.0 s\n")


def test_a_slow_part_shows_what_it_has_done_since_this_start(board: Board, advance: Advance, tmp_path: Path) -> None:
    log = tmp_path / "verifier.log"
    log.write_text(STOPPED)
    board.changed(a_part("verifier"), Phase.STARTING)
    advance(10)
    assert "stopped" not in shown(board)
    with log.open("a") as more:
        more.write(LOADING)
    assert "10 s  loading the model" in shown(board)


def test_a_part_says_how_long_a_start_usually_takes(board: Board, said: io.StringIO) -> None:
    part = a_part("vLLM", "usually half a minute")
    board.changed(part, Phase.WAITING)
    board.changed(part, Phase.STARTING)
    assert said.getvalue() == "vLLM: starting (usually half a minute)\n"
    assert "usually half a minute" in shown(board)
    board.changed(part, Phase.READY)
    assert "usually" not in shown(board)


def test_a_part_that_ends_while_it_starts_says_no_more_of_its_start(board: Board) -> None:
    part = a_part("vLLM", "usually half a minute")
    board.changed(part, Phase.STARTING)
    board.ending(part)
    assert "usually" not in shown(board)


@pytest.mark.parametrize(
    ("exit_code", "end"),
    [(1, "ended with exit code 1"), (-9, "was killed (SIGKILL)"), (-11, "was killed (SIGSEGV)"), (-40, "(signal 40)")],
)
def test_how_a_part_died_is_said_in_words(board: Board, said: io.StringIO, exit_code: int, end: str) -> None:
    board.died(a_part("verifier"), exit_code, 0.5, Path("verifier.log"), ["no queue"])
    first, second = said.getvalue().splitlines()
    assert f"{end}; starting it again in 0.5 s. Its log is verifier.log" in first
    assert second == "    no queue"
