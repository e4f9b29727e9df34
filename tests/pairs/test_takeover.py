"""Which entries a consumer takes over from silent ones, and when it takes nothing."""

import pytest

from pairs.takeover import Pending, TakeOver, plan

LEASE_MS = 1000


def silent(entry: str, deliveries: int) -> Pending:
    return Pending(entry, deliveries, idle_ms=5000)


def in_work(entry: str, deliveries: int) -> Pending:
    return Pending(entry, deliveries, idle_ms=10)


@pytest.mark.parametrize("max_attempts", [1, 2, 3])
def test_what_is_in_work_for_the_first_time_holds_nothing_up(max_attempts: int) -> None:
    assert plan([], [in_work("a", 1)], LEASE_MS, max_attempts) == TakeOver()


def test_what_was_lost_once_is_taken_together() -> None:
    assert plan([silent("a", 1), silent("b", 1)], [in_work("c", 1)], LEASE_MS, 3) == TakeOver(taken=("a", "b"))


def test_suspects_come_after_the_others_one_by_one_and_alone() -> None:
    suspects = [silent("a", 2), silent("b", 2)]
    assert plan([*suspects, silent("c", 1)], [], LEASE_MS, 3).taken == ("c",)
    assert plan(suspects, [in_work("c", 2)], LEASE_MS, 3) == TakeOver(must_wait=True)
    assert plan(suspects, [], LEASE_MS, 3) == TakeOver(taken=("a",))
    assert plan(suspects[1:], [in_work("a", 3)], LEASE_MS, 3) == TakeOver(must_wait=True)


def test_with_two_attempts_the_second_is_alone() -> None:
    assert plan([silent("a", 1), silent("b", 1)], [], LEASE_MS, 2) == TakeOver(taken=("a",))


def test_what_had_its_attempts_is_dead_whatever_else_there_is() -> None:
    assert plan([silent("a", 3), silent("b", 2)], [in_work("c", 1)], LEASE_MS, 3) == TakeOver(("a",), must_wait=True)
    assert plan([silent("a", 1)], [], LEASE_MS, 1) == TakeOver(("a",))


def test_what_the_consumer_itself_fell_silent_over_is_not_in_work() -> None:
    assert plan([silent("a", 2)], [silent("a", 2)], LEASE_MS, 3) == TakeOver(taken=("a",))
