"""The supervisor's decisions, over every course of events that can befall a part."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from judgefree.launcher.supervision import NEXT, Course, Event, Phase, Policy, delay_s, end_of, step

POLICIES = st.builds(
    Policy,
    first_delay_s=st.floats(0.01, 10),
    longest_delay_s=st.floats(10, 1000),
    most_deaths=st.integers(1, 10),
)
EXIT_CODES = st.integers(-64, 255)


@st.composite
def courses(draw: st.DrawFn) -> tuple[Policy, list[Course], list[Event]]:
    """A policy, and a part's whole life under it: every course it went through and every event between."""
    policy, course = draw(POLICIES), Course()
    lived, events = [course], []
    for _ in range(draw(st.integers(0, 40))):
        possible = sorted(event for phase, event in NEXT if phase is course.phase)
        if not possible:
            break
        event = draw(st.sampled_from(possible))
        if event in (Event.DIED, Event.REFUSED):
            event = end_of(course, draw(EXIT_CODES), policy)
        course = step(course, event)
        lived.append(course)
        events.append(event)
    return policy, lived, events


@given(courses())
def test_a_part_is_given_up_only_if_it_was_never_ready(life: tuple[Policy, list[Course], list[Event]]) -> None:
    _, lived, events = life
    if lived[-1].phase is Phase.GIVEN_UP:
        assert Event.ANSWERED not in events


@given(courses())
def test_a_part_that_never_was_ready_has_at_most_so_many_starts(
    life: tuple[Policy, list[Course], list[Event]],
) -> None:
    policy, _, events = life
    if Event.ANSWERED not in events:
        assert events.count(Event.CALLED) <= policy.most_deaths


@given(courses())
def test_every_delay_is_within_its_bounds_and_grows_with_the_deaths(
    life: tuple[Policy, list[Course], list[Event]],
) -> None:
    policy, lived, _ = life
    for course in lived:
        assert policy.first_delay_s <= delay_s(course, policy) <= policy.longest_delay_s
        assert delay_s(course, policy) <= delay_s(Course(deaths=course.deaths + 1), policy)


@given(POLICIES, st.integers(0, 10**6))
def test_no_number_of_deaths_makes_a_delay_infinite(policy: Policy, deaths: int) -> None:
    assert delay_s(Course(deaths=deaths), policy) <= policy.longest_delay_s


@pytest.mark.parametrize(
    ("course", "exit_code", "expected"),
    [
        (Course(Phase.STARTING), 2, Event.REFUSED),
        (Course(Phase.STARTING), 1, Event.DIED),
        (Course(Phase.STARTING, deaths=2), 1, Event.REFUSED),
        (Course(Phase.STARTING, deaths=9, has_been_ready=True), 2, Event.DIED),
        (Course(Phase.READY, has_been_ready=True), 2, Event.DIED),
        (Course(Phase.READY, has_been_ready=True), -9, Event.DIED),
    ],
)
def test_what_an_end_is(course: Course, exit_code: int, expected: Event) -> None:
    assert end_of(course, exit_code, Policy()) is expected


def test_a_part_that_was_ready_for_long_starts_its_count_anew() -> None:
    assert step(Course(Phase.READY, deaths=4, has_been_ready=True), Event.STEADIED).deaths == 0


def test_what_cannot_befall_a_part_is_an_error() -> None:
    with pytest.raises(KeyError):
        step(Course(Phase.GIVEN_UP), Event.CALLED)
