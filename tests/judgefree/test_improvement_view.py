"""What a person at the terminal sees of a run."""

import io
import re

from rich.console import Console

from judgefree.improvement.view import Lines, minutes, show_summary
from pairs.runs import ImprovementRun, Phase, RunStatus
from tests.judgefree.evaluations import a_round, a_run

DONE = a_round(1, None, ours=0.1, theirs=0.2)


def _terminal(is_terminal: bool = False) -> Console:
    return Console(file=io.StringIO(), width=120, soft_wrap=True, force_terminal=is_terminal)


def _said(console: Console) -> list[str]:
    file = console.file
    assert isinstance(file, io.StringIO)
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", file.getvalue())
    return [line.strip("\r") for line in plain.splitlines()]


def _lines_of(run: ImprovementRun, phase: Phase) -> list[str]:
    console = _terminal()
    with Lines(console) as view:
        view.phase(run, run.rounds[-1].model_copy(update={"phase": phase}))
        view.progress(3, 20, "")
        view.done(run, run.rounds[-1], phase)
    return _said(console)


def test_each_phase_that_is_done_is_a_line_with_its_time_and_what_came_of_it() -> None:
    run = a_run(DONE)
    assert _lines_of(run, Phase.GENERATING) == [
        "round 1 of 3  making pairs   1:01  20 pairs: 10 kept, 4 swapped, 6 discarded"
    ]
    assert _lines_of(run, Phase.TRAINING) == ["round 1 of 3  training       0:05  first-1"]
    assert _lines_of(run, Phase.EVALUATING) == [
        "round 1 of 3  evaluating     0:04  against the parent",
        "    scenes  CHAIR_i 0.200 -> 0.100  F1 0.700 -> 0.700",
        "    others  CHAIR_i 0.200 -> 0.100  F1 0.700 -> 0.700",
        "    unseen  CHAIR_i 0.200 -> 0.100  F1 0.700 -> 0.700",
    ]
    assert _lines_of(run, Phase.JUDGING) == [
        "round 1 of 3  judging        0:01  promoted",
        "    CHAIR_i is better on scenes: -0.1",
    ]


def test_what_was_not_promoted_is_said_with_its_reason() -> None:
    lines = _lines_of(a_run(a_round(1, None, 0.2, 0.2, is_promoted=False)), Phase.JUDGING)
    assert lines == ["round 1 of 3  judging        0:01  not promoted", "    F1 is worse on others: -0.1"]


def test_a_bar_goes_on_while_a_phase_does_and_knows_nothing_of_the_one_before() -> None:
    console, run = _terminal(is_terminal=True), a_run(DONE)
    with Lines(console) as view:
        view.phase(run, DONE.model_copy(update={"phase": Phase.TRAINING}))
        view.progress(3, 20, "loss 0.5")
        view.done(run, DONE, Phase.TRAINING)
        view.phase(run, DONE.model_copy(update={"phase": Phase.EVALUATING}))
    said = "\n".join(_said(console))
    assert "round 1 of 3  training       0:05  first-1" in said
    assert "3 of 20" not in said.rpartition("evaluating")[2]


def test_the_summary_has_every_judged_round_once_with_all_its_data_sets() -> None:
    console = _terminal()
    second = a_round(2, "first-1", ours=0.15, theirs=0.1, is_promoted=False)
    begun = second.model_copy(update={"number": 3, "phase": Phase.TRAINING})
    show_summary(console, a_run(DONE, second, begun, status=RunStatus.RUNNING))
    rows = [line.split() for line in _said(console) if line.strip()]
    assert rows[0] == ["Run", "first"]
    assert rows[1] == ["round", "pairs", "data", "set", "CHAIR_i", "F1", "promoted", "seconds"]
    change = ["0.700", "->", "0.700"]
    assert rows[2] == ["1", "20", "scenes", "0.200", "->", "0.100", *change, "yes", "72"]
    assert rows[3] == ["others", "0.200", "->", "0.100", *change]
    assert rows[5] == ["2", "20", "scenes", "0.100", "->", "0.150", *change, "no", "72"]
    assert len(rows) == 8


def test_a_run_without_rounds_has_a_summary() -> None:
    console = _terminal()
    show_summary(console, a_run())
    assert _said(console)


def test_times_are_minutes_and_seconds() -> None:
    assert [minutes(seconds) for seconds in (0.0, 59.9, 60.0, 3725.0)] == ["0:00", "0:59", "1:00", "62:05"]
