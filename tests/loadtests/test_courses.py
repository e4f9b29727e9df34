"""The shapes, walked through second by second against a system that is simulated here."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtests.courses import PATIENCE_S, Bursts, Climb, Constant, Course, Start, course_of
from loadtests.knee import Level, find_knee
from loadtests.profiles import Burst, Ramp, Steady, read_profile


class Server:
    """Finishes what arrives, at most `capacity` a second; the rest waits."""

    def __init__(self, capacity: float) -> None:
        self._capacity = capacity
        self._waiting = 0.0
        self._seconds: list[tuple[float, float, float]] = []

    def second(self, now: float, rate: float) -> None:
        finished = min(self._waiting + rate, self._capacity)
        self._waiting += rate - finished
        self._seconds.append((now, rate, finished))

    @property
    def in_work(self) -> int:
        return round(self._waiting)

    def measure(self, offered: float, since: float, until: float) -> Level:
        seen = [(rate, finished) for now, rate, finished in self._seconds if since <= now < until]
        arrived, finished = (sum(column) / len(seen) for column in zip(*seen, strict=True))
        return Level(offered, arrived, arrived, finished, 1.0, 2.0, self.in_work)


def walk(course: Course, server: Server, start: float = 1_000.0) -> list[float]:
    """The level of each second until the course is over."""
    levels: list[float] = []
    while (level := course.level(start + len(levels), server)) is not None:
        server.second(start + len(levels), level)
        levels.append(level)
        assert len(levels) < 5_000
    return levels


@given(st.floats(1, 2_000))
def test_a_climb_finds_the_capacity_drains_before_it_goes_down_and_ends(capacity: float) -> None:
    shape = Ramp(kind="ramp", start=4, growth=1.6, precision=1.2, hold_s=8, settle_s=2, most_levels=40)
    course, server = Climb(shape, "open", drain_s=300), Server(capacity)
    levels = walk(course, server)
    knee = find_knee(course.levels, shape, "open")
    assert knee is not None
    assert capacity / 1.2 <= knee.offered <= capacity / 0.9 * 1.0001
    went_down = [after for before, after in pairwise(levels) if after < before]
    assert set(went_down) <= {0}
    held = [sum(level == one.offered for level in levels) for one in course.levels]
    assert min(held) >= shape.hold_s


def test_a_drain_that_does_not_end_is_left() -> None:
    shape = Ramp(kind="ramp", start=100, growth=2, hold_s=4, settle_s=1, most_levels=3)
    course = Climb(shape, "open", drain_s=10)
    levels = walk(course, Server(0.5))
    assert [one.offered for one in course.levels] == pytest.approx([100, 50, 25])
    assert sum(level == 0 for level in levels) == 2 * 10


@given(st.integers(0, 100), st.integers(0, 100))
def test_a_load_begins_once_its_users_are_there_or_with_those_that_came_in_time_and_stays_begun(
    come: int, leave: int
) -> None:
    start = Start()
    begun = [start.look(1_000.0 + second, come <= second < leave) for second in range(120)]
    begins = min(come, PATIENCE_S) if come < leave else PATIENCE_S
    assert begun == [second >= begins for second in range(120)]
    assert start.has_begun


@given(st.integers(1, 500), st.integers(1, 100))
def test_a_constant_load_is_there_for_its_time(level: int, duration_s: int) -> None:
    course = Constant(Steady(kind="steady", level=level, duration_s=duration_s))
    assert walk(course, Server(1e9)) == [level] * duration_s


def test_bursts_come_between_times_of_the_base() -> None:
    course = Bursts(Burst(kind="burst", base=1, peak=9, every_s=3, lasting_s=2, bursts=2))
    assert walk(course, Server(1e9)) == [1, 1, 1, 9, 9, 1, 1, 1, 9, 9, 1, 1, 1]
    assert course.peaks == [(1_003, 1_005), (1_008, 1_010)]


def test_every_shipped_profile_has_a_course() -> None:
    kinds = {"mixed": Constant, "knee": Climb, "knee-closed": Climb, "steady": Constant, "steady-open": Constant}
    for name, kind in (kinds | {"burst": Bursts, "soak": Constant}).items():
        assert isinstance(course_of(read_profile(name)), kind)
