"""The knee: found on systems whose capacity is known, whatever it is."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtests.knee import NEAR, Level, find_knee, is_sustained, next_level
from loadtests.profiles import Ramp, Unit

OPEN = Ramp(kind="ramp", start=8, growth=1.6, precision=1.2, tolerance=0.1, hold_s=8, settle_s=2, most_levels=60)
CLOSED = Ramp(kind="ramp", start=1, growth=2, hold_s=8, settle_s=2, most_levels=40)

System = Callable[[float], Level]


def level(offered: float, finished_per_s: float, arrived_per_s: float) -> Level:
    return Level(offered, arrived_per_s, arrived_per_s, finished_per_s, 0.5, 1.0, 0)


def open_system(capacity: float) -> System:
    """What arrives is finished, up to the capacity."""
    return lambda rate: level(rate, min(rate, capacity), rate)


def closed_system(capacity: float, answer_s: float) -> System:
    """Little's law: so many at a time, each for `answer_s`, up to the capacity."""

    def measured(posters: float) -> Level:
        finished = min(posters / answer_s, capacity)
        return level(posters, finished, finished)

    return measured


def climb(system: System, ramp: Ramp, load: Unit) -> list[Level]:
    levels = [system(ramp.start)]
    while (wanted := next_level(levels, ramp, load)) is not None:
        levels.append(system(wanted))
    return levels


@given(st.floats(0.01, 10_000))
def test_under_open_load_the_knee_is_the_capacity_to_within_precision_and_tolerance(capacity: float) -> None:
    levels = climb(open_system(capacity), OPEN, "open")
    knee = find_knee(levels, OPEN, "open")
    assert knee is not None
    assert knee.is_bracketed
    assert capacity / OPEN.precision <= knee.offered <= capacity / (1 - OPEN.tolerance) * 1.0001
    assert knee.best_pairs_per_s == max(one.finished_per_s for one in levels)
    assert len(levels) < 40


@given(st.floats(1, 10_000), st.floats(0.05, 60))
def test_under_closed_load_the_knee_is_the_fewest_posters_that_come_near_the_plateau(
    capacity: float, answer_s: float
) -> None:
    levels = climb(closed_system(capacity, answer_s), CLOSED, "closed")
    knee = find_knee(levels, CLOSED, "closed")
    assert knee is not None
    assert knee.is_bracketed
    assert knee.best_pairs_per_s == pytest.approx(capacity)
    assert knee.pairs_per_s >= NEAR * capacity
    fewer = [one for one in levels if one.offered < knee.offered]
    assert all(one.finished_per_s < NEAR * capacity for one in fewer)


def test_a_ramp_ends_at_its_most_levels_and_says_that_the_knee_lies_further_up() -> None:
    ramp = OPEN.model_copy(update={"most_levels": 3})
    levels = climb(open_system(1_000), ramp, "open")
    assert [one.offered for one in levels] == pytest.approx([8, 12.8, 20.48])
    knee = find_knee(levels, ramp, "open")
    assert knee is not None
    assert knee.offered == pytest.approx(20.48)
    assert not knee.is_bracketed


def test_a_system_that_finishes_nothing_has_no_knee() -> None:
    ramp = OPEN.model_copy(update={"most_levels": 4})
    for load in ("open", "closed"):
        assert find_knee([level(8, 0, 8)] * 2, ramp, load) is None
    assert find_knee([], ramp, "open") is None


def test_a_rate_below_one_that_failed_is_what_counts() -> None:
    """A noisy level further up that looked sustained does not move the knee past a failure."""
    levels = [level(10, 10, 10), level(20, 15, 20), level(30, 29, 30)]
    knee = find_knee(levels, OPEN, "open")
    assert knee is not None
    assert (knee.offered, knee.best_pairs_per_s) == (10, 29)


@given(st.floats(0, 100), st.floats(0.1, 100))
def test_a_level_is_sustained_up_to_the_tolerance(finished: float, arrived: float) -> None:
    assert is_sustained(level(1, finished, arrived), 0.1) == (finished >= 0.9 * arrived)
