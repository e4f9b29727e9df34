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
    """`count` entries, the next one `every_s` after the one before."""

    def __init__(self, count: int, every_s: float) -> None:
        self._times = [place * every_s for place in range(count)]
        self._began = asyncio.get_running_loop().time()
        self.takes = 0

    async def take(self, count: int, wait_s: float) -> list[float]:
        self.takes += 1
        clock = asyncio.get_running_loop().time
        until = clock() - self._began + wait_s
        first = min(self._times[0], until) if self._times else until
        await asyncio.sleep(max(0, first - (clock() - self._began)))
        there = [time for time in self._times if time <= clock() - self._began][:count]
        self._times = self._times[len(there) :]
        return there


async def test_a_full_batch_goes_at_once() -> None:
    arrivals = Arrivals(99, 0)
    assert len(await fill(arrivals.take, BatchPlan(4, 60), 1, lambda: False)) == 4
    assert arrivals.takes == 1


async def test_a_batch_fills_while_it_is_young() -> None:
    arrivals = Arrivals(4, 0.01)
    assert len(await fill(arrivals.take, BatchPlan(4, 2), 1, lambda: False)) == 4
    assert arrivals.takes <= 3


async def test_an_old_batch_goes_as_it_is() -> None:
    assert len(await fill(Arrivals(99, 0.001).take, BatchPlan(400, 0.05), 1, lambda: False)) < 99


async def test_a_batch_that_nothing_follows_goes_at_the_first_look() -> None:
    arrivals = Arrivals(1, 0)
    assert len(await fill(arrivals.take, BatchPlan(4, 0.1), 1, lambda: False)) == 1
    assert arrivals.takes == 2


async def test_nothing_comes_of_nothing() -> None:
    arrivals = Arrivals(0, 0.001)
    assert await fill(arrivals.take, BatchPlan(4, 60), 0.01, lambda: False) == []
    assert arrivals.takes == 1


async def test_a_batch_that_drains_takes_no_more() -> None:
    assert len(await fill(Arrivals(99, 0.001).take, BatchPlan(4, 60), 1, lambda: True)) == 1


@given(st.integers(1, 1000))
def test_pauses_grow_to_five_seconds(attempt: int) -> None:
    assert 0.1 <= pause_s(attempt) <= pause_s(attempt + 1) <= 5
