"""A batch goes when it is full or old enough, and never waits longer than it must."""

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from workers.clip.batching import BatchPlan, fill
from workers.clip.outages import pause_s

PLANS = st.builds(BatchPlan, size=st.integers(1, 64), age_s=st.floats(0, 10))


@given(PLANS, st.integers(1, 80), st.floats(0, 20))
def test_a_batch_asks_for_no_more_than_its_room_and_its_time(plan: BatchPlan, held: int, age_s: float) -> None:
    ask = plan.next_ask(held, age_s)
    if ask is None:
        assert held >= plan.size or age_s >= plan.age_s
    else:
        assert held + ask.count == plan.size
        assert 0 < ask.wait_s <= plan.age_s - age_s


class Arrivals:
    """Entries that arrive one by one, each `every_s` after the one before."""

    def __init__(self, count: int, every_s: float) -> None:
        self._left, self._every_s = count, every_s
        self.waits: list[float] = []

    async def take(self, count: int, wait_s: float) -> list[int]:
        self.waits.append(wait_s)
        await asyncio.sleep(min(wait_s, self._every_s))
        if self._left == 0 or wait_s < self._every_s:
            return []
        self._left -= 1
        return [self._left]


async def test_a_full_batch_goes_at_once() -> None:
    assert len(await fill(Arrivals(99, 0.001).take, BatchPlan(4, 60), 1, lambda: False)) == 4


async def test_an_old_batch_goes_as_it_is() -> None:
    assert len(await fill(Arrivals(2, 0.001).take, BatchPlan(4, 0.05), 1, lambda: False)) == 2


async def test_nothing_comes_of_nothing() -> None:
    arrivals = Arrivals(0, 0.001)
    assert await fill(arrivals.take, BatchPlan(4, 60), 0.01, lambda: False) == []
    assert arrivals.waits == [0.01]


async def test_a_batch_that_drains_takes_no_more() -> None:
    assert len(await fill(Arrivals(99, 0.001).take, BatchPlan(4, 60), 1, lambda: True)) == 1


@given(st.integers(1, 1000))
def test_pauses_grow_to_five_seconds(attempt: int) -> None:
    assert 0.1 <= pause_s(attempt) <= pause_s(attempt + 1) <= 5
