"""A task that is ended is over, though a library may swallow its cancellation."""

import asyncio

import pytest

from pairs.ending import end
from pairs.queue import Queue


async def test_work_that_talks_to_redis_without_a_pause_is_over_whenever_it_is_ended(queue: Queue) -> None:
    async def talk() -> None:
        while True:
            await queue.redis.ping()

    for steps in range(80):  # of the event loop, until the cancellation; many of them meet a command just sent
        talking = asyncio.create_task(talk())
        for _ in range(steps):
            await asyncio.sleep(0)
        async with asyncio.timeout(30):
            await end(talking, again_s=0.05)
        assert talking.cancelled()


async def test_what_a_cancelled_task_puts_in_order_is_not_broken_off() -> None:
    is_in_order = False

    async def work() -> None:
        nonlocal is_in_order
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await asyncio.sleep(0.1)
            is_in_order = True
            raise

    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    await end(task)
    assert is_in_order


async def test_a_tasks_own_error_is_not_raised_where_it_is_ended() -> None:
    async def fail() -> None:
        raise RuntimeError

    failing, waiting = asyncio.create_task(fail()), asyncio.create_task(asyncio.sleep(60))
    await asyncio.sleep(0)
    await end(failing, waiting)
    assert waiting.cancelled()
    with pytest.raises(RuntimeError):
        failing.result()
