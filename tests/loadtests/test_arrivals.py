"""What is asked for arrives, whatever the rate, however often it changes, however many processes make it."""

import random
from bisect import bisect_left
from collections.abc import Sequence
from itertools import pairwise
from statistics import mean, stdev

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from loadtests.arrivals import RateSchedule, Segment, Timetable

RATES = st.floats(0.2, 500)
START = 1_000.0

Part = tuple[float, float, int]
"""Of a load: a rate, for how many seconds, and how many processes make it."""


def due(parts: Sequence[Part], is_even: bool = True) -> list[float]:
    """When images are due, on all processes together, until the last part ends."""
    schedule, at = RateSchedule(), START
    tables = [Timetable(is_even) for _ in range(max(processes for _, _, processes in parts))]
    for rate, seconds, processes in parts:
        assigned = schedule.assign(rate, at, processes)
        idle = [Segment(since=at, per_s=0.0, due=assigned[0]["due"], place=0, of=1)] * (len(tables) - processes)
        for table, segment in zip(tables, [*assigned, *idle], strict=True):
            table.add(segment)
        at += seconds
    found: list[float] = []
    for table in tables:
        while table.due < at:
            found.append(table.due)
            table.take()
    return sorted(found)


@given(RATES, st.integers(1, 8))
def test_even_arrivals_are_one_gap_apart_over_all_processes(rate: float, processes: int) -> None:
    found = due([(rate, 20 / rate, processes)])
    assert [after - before for before, after in pairwise(found)] == pytest.approx([1 / rate] * (len(found) - 1))
    assert 20 <= len(found) <= 21


@given(
    st.lists(st.tuples(st.one_of(st.just(0.0), RATES), st.floats(0.1, 1), st.integers(1, 4)), min_size=1, max_size=5)
)
def test_whatever_the_rate_was_before_as_many_are_due_as_it_makes(parts: list[Part]) -> None:
    found, at, expected = due(parts), START, 0.0
    for rate, seconds, _ in parts:
        at, expected = at + seconds, expected + rate * seconds
        assert abs(bisect_left(found, at) - expected) <= 1 + 1e-6


@pytest.mark.parametrize("rate", [0.2, 500])
@pytest.mark.parametrize("processes", [1, 3])
def test_poisson_arrivals_of_all_processes_are_one_stream_of_the_rate(rate: float, processes: int) -> None:
    random.seed(7)
    found = due([(rate, 10_000 / rate, processes)], is_even=False)
    gaps = [after - before for before, after in pairwise(found)]
    assert len(found) == pytest.approx(10_000, rel=0.05)
    assert stdev(gaps) == pytest.approx(mean(gaps), rel=0.05)


def test_what_was_due_before_the_rate_fell_is_due_still() -> None:
    table, schedule = Timetable(is_even=True), RateSchedule()
    for rate, since in ((10, START), (0, START + 1)):
        table.add(schedule.assign(rate, since, 1)[0])
    overdue = []
    while table.due < START + 100:
        overdue.append(table.due)
        table.take()
    assert overdue == pytest.approx([START + one / 10 for one in range(10)])


@given(
    st.lists(st.tuples(RATES, st.floats(0.2, 1)), min_size=1, max_size=4),
    st.lists(st.floats(0, 0.15), min_size=1, max_size=4),
)
@example([(500, 1)], [0.02])
def test_who_hears_late_of_a_change_sends_no_image_twice_and_none_too_few(
    changes: list[tuple[float, float]], delays: list[float]
) -> None:
    """A process a delay, by which it learns of every change; what it was too far ahead by then is made up for after."""
    at, parts = START, []
    for rate, seconds in [*changes, (10, 20)]:
        parts.append((rate, at))
        at += seconds
    schedule, tables, found = RateSchedule(), [Timetable(is_even=True) for _ in delays], 0
    for rate, since in parts:
        for table, segment, delay_s in zip(tables, schedule.assign(rate, since, len(delays)), delays, strict=True):
            found += taken(table, since + delay_s)
            table.add(segment)
    found += sum(taken(table, at) for table in tables)
    assert abs(found - sum(rate * seconds for rate, seconds in [*changes, (10, 20)])) <= 1 + 1e-6


def taken(table: Timetable, until: float) -> int:
    """How many images set out before, by what the process knows."""
    count = 0
    while table.due < until:
        table.take()
        count += 1
    return count


def test_poisson_arrivals_that_hear_late_of_a_fall_in_the_rate_are_as_many_as_it_makes() -> None:
    random.seed(7)
    found, times = 0, 200
    for _ in range(times):
        table, schedule = Timetable(is_even=False), RateSchedule()
        table.add(schedule.assign(500, START, 1)[0])
        found += taken(table, START + 1.05)
        table.add(schedule.assign(8, START + 1, 1)[0])
        found += taken(table, START + 11)
    assert found == pytest.approx(times * (500 + 80), rel=0.01), "its standard deviation is 0.3 %"


def test_who_missed_a_change_is_back_with_the_others_at_the_next() -> None:
    schedule, there, away = RateSchedule(), Timetable(is_even=True), Timetable(is_even=True)
    for rate, since in ((0.2, START), (500, START + 1), (8, START + 2)):
        segment = schedule.assign(rate, since, 1)[0]
        there.add(segment)
        if rate != 500:
            away.add(segment)
    for table in (there, away):
        table.skip_to(START + 2)
    assert START + 2 <= there.due == away.due < START + 2.2


def test_who_comes_late_leaves_out_what_was_due_before_and_keeps_the_rhythm() -> None:
    table = Timetable(is_even=True)
    table.add(RateSchedule().assign(4, START, 1)[0])
    table.skip_to(START + 1.1)
    assert table.due == pytest.approx(START + 1.25)
