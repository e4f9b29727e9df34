"""Thresholds and what they are held against."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtests.figures import Span, drift, recoveries_s, verdicts, windows
from loadtests.knee import Level
from loadtests.ledger import Integrity, Ledger, News
from loadtests.profiles import Thresholds, read_profile
from loadtests.report import Outcome, lines, progress, summary
from loadtests.samples import Sample

FIGURES = {
    "seconds": 10.0,
    "accepted_per_s": 12.0,
    "pairs_per_s": 12.0,
    "latency_s": {"p50": 1.0, "p90": 1.5, "p95": 2.0, "p99": 3.0, "max": 4.0},
    "requests": 300,
    "error_share": 0.01,
    "busy_share": 0.0,
    "lateness_p95_s": 0.1,
}
WHOLE = Integrity(accepted=5, lost=(), unfinished=(), failed={}, doubled=(), mixed_up=(), compared=4, untold=0)


@given(st.floats(0, 100))
def test_a_minimum_is_met_from_it_on_and_a_maximum_up_to_it(limit: float) -> None:
    least, most = verdicts(Thresholds(min_pairs_per_s=limit, max_p95_s=limit), FIGURES, failed_pairs=0)
    assert (least.is_met, most.is_met) == (limit <= 12, limit >= 2)
    assert (least.found, most.found) == (12, 2)


def test_every_threshold_is_held_against_something() -> None:
    limits = dict.fromkeys(Thresholds.model_fields, 1)
    found = FIGURES | {"knee": {"pairs_per_s": 20.0}, "recovery_s": [1.0, 3.0], "drift": 0.9}
    decided = verdicts(Thresholds(**limits), found, failed_pairs=2)
    assert {one.threshold for one in decided} == set(limits)
    assert {one.threshold for one in decided if one.found is None} == set()
    assert {one.threshold: one.found for one in decided}["max_recovery_s"] == 3


@pytest.mark.parametrize(
    ("name", "found"),
    [("min_knee_pairs_per_s", {"knee": None}), ("max_recovery_s", {"recovery_s": [1.0, None]}), ("max_drift", {})],
)
def test_what_could_not_be_measured_does_not_meet_its_threshold(name: str, found: dict[str, object]) -> None:
    [verdict] = verdicts(Thresholds.model_validate({name: 5}), FIGURES | found, failed_pairs=0)
    assert (verdict.found, verdict.is_met) == (None, False)


@pytest.mark.parametrize("kind", ["lost", "unfinished", "doubled", "mixed_up"])
def test_a_broken_book_is_a_failed_run_with_its_ids_in_the_summary(kind: str) -> None:
    integrity = Integrity(**{**vars(WHOLE), kind: ("an-id",)})
    found = summary("mixed", read_profile("mixed"), "http://here", FIGURES, Outcome([], integrity, 0, False), [], 3)
    assert not found["passed"]
    assert found["integrity"][kind] == {"count": 1, "ids": ["an-id"]}
    assert found["complaints"]
    assert found["queue_unseen"] == 3
    assert any("1 " in line for line in lines(found))
    json.dumps(found)


def test_a_run_in_order_passes_and_one_that_is_broken_off_or_had_errors_of_its_own_does_not() -> None:
    def passed(exceptions: int, was_broken_off: bool) -> bool:
        outcome = Outcome([], WHOLE, exceptions, was_broken_off)
        return bool(summary("mixed", read_profile("mixed"), "http://here", FIGURES, outcome, [], 0)["passed"])

    assert passed(0, False)
    assert not passed(1, False)
    assert not passed(0, True)


def test_recovery_is_until_no_more_is_in_work_than_before_the_first_burst() -> None:
    in_work = [3, 5, 4, 40, 60, 30, 6, 5, 2]
    samples = [Sample(at, 0, 0, 0, 0, count) for at, count in enumerate(in_work)]
    assert recoveries_s(samples, [(3, 5)]) == [2]
    assert recoveries_s(samples[:6], [(3, 5)]) == [None]


def test_recovery_is_unknown_where_what_was_in_work_before_the_first_burst_is() -> None:
    samples = [Sample(at, 0, 0, 0, 0, count) for at, count in enumerate([3, 40, 60, 3, 0])]
    assert recoveries_s(samples[1:], [(1, 2), (3, 4)]) == [None, None]
    assert recoveries_s([], [(1, 2)]) == [None]
    assert recoveries_s(samples, []) == []


def test_a_later_burst_is_not_held_against_the_crowd_of_an_earlier_one() -> None:
    in_work = [3, 5, 4, 40, 60, 30, 6, 5, 2, 40, 60, 30, 9, 8, 5]
    samples = [Sample(at, 0, 0, 0, 0, count) for at, count in enumerate(in_work)]
    assert recoveries_s(samples, [(3, 5), (9, 11)]) == [2, 3]


def test_a_system_that_has_not_caught_up_when_the_next_burst_comes_takes_until_after_that_one() -> None:
    samples = [Sample(at, 0, 0, 0, 0, count) for at, count in enumerate([3, 40, 30, 60, 50, 3])]
    assert recoveries_s(samples, [(1, 2), (3, 4)]) == [3, 1]


def test_a_soak_that_grows_slower_drifts() -> None:
    ledger = books([(float(at), 1.0 if at < 60 else 2.0) for at in range(90)])
    span = Span(0, 92)
    assert drift(ledger, span) == 2
    assert [one["p50_s"] for one in windows(ledger, span, 30)] == [1.0, 1.0, 2.0]


def books(times: list[tuple[float, float]]) -> Ledger:
    """Of pairs that arrived at some time and took some seconds."""
    ledger = Ledger()
    ledger.take(
        News(
            sender="a",
            number=1,
            is_last=True,
            arrivals=[],
            acceptances=[],
            settlements=[
                {"id": str(number), "status": "done", "at": at + took_s, "arrived_at": at, "latency_s": took_s}
                for number, (at, took_s) in enumerate(times)
            ],
            outcomes={},
        )
    )
    return ledger


@pytest.mark.parametrize(
    ("offered", "load"),
    [(6.32456, "load 6.3"), (8.0, "load 8"), (1234.56, "load 1234.6"), (0.0, "no load, the queue runs empty")],
)
def test_the_load_is_said_to_one_decimal_place(offered: float, load: str) -> None:
    seen = Level(offered, 6.2, 6.2, 5.9, None, None, 3)
    assert progress(seen, "2 + 1") == f"{load}: 6.2 images/s arrive, 5.9 pairs/s; 3 in work, queued 2 + 1"
