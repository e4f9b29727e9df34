"""What is asked for arrives, whatever the rate, however often it changes, however many processes make it."""

import random
from bisect import bisect_left
from collections.abc import Sequence
from itertools import pairwise
from statistics import mean, stdev

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtests.arrivals import Dealer, Stretch, Timetable

RATES = st.floats(0.2, 500)
START = 1_000.0

Part = tuple[float, float, int]
"""Of a load: a rate, for how many seconds, and how many processes make it."""


def due(parts: Sequence[Part], is_even: bool = True) -> list[float]:
    """When images are due, on all processes together, until the last part ends."""
    dealer, at = Dealer(), START
    tables = [Timetable(is_even) for _ in range(max(processes for _, _, processes in parts))]
    for rate, seconds, processes in parts:
        dealt = dealer.deal(rate, at, processes)
        idle = [Stretch(since=at, per_s=0.0, due=dealt[0]["due"], place=0, of=1)] * (len(tables) - processes)
        for table, stretch in zip(tables, [*dealt, *idle], strict=True):
            table.add(stretch)
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
    table, dealer = Timetable(is_even=True), Dealer()
    for rate, since in ((10, START), (0, START + 1)):
        table.add(dealer.deal(rate, since, 1)[0])
    overdue = []
    while table.due < START + 100:
        overdue.append(table.due)
        table.take()
    assert overdue == pytest.approx([START + one / 10 for one in range(10)])


def test_who_missed_a_change_is_back_with_the_others_at_the_next() -> None:
    dealer, there, away = Dealer(), Timetable(is_even=True), Timetable(is_even=True)
    for rate, since in ((0.2, START), (500, START + 1), (8, START + 2)):
        stretch = dealer.deal(rate, since, 1)[0]
        there.add(stretch)
        if rate != 500:
            away.add(stretch)
    for table in (there, away):
        table.skip_to(START + 2)
    assert START + 2 <= there.due == away.due < START + 2.2


def test_who_comes_late_leaves_out_what_was_due_before_and_keeps_the_rhythm() -> None:
    table = Timetable(is_even=True)
    table.add(Dealer().deal(4, START, 1)[0])
    table.skip_to(START + 1.1)
    assert table.due == pytest.approx(START + 1.25)
