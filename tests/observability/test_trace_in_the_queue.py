"""A pair's trace waits with it: whatever becomes of an entry, the next worker knows the trace that it belongs to."""

import asyncio

from pairs.model import Job
from pairs.queue import Delivery, Queue
from pairs.settings import Settings
from tests.conftest import MakeSettings
from tests.examples import a_candidate, a_job

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


async def admitted(queue: Queue) -> Delivery[Job]:
    """A traced job, taken."""
    job = a_job()
    await queue.admit([job], None, {job.id: TRACE})
    [delivery] = await queue.take_jobs("first", 1, 0.1)
    assert delivery.trace == TRACE
    return delivery


async def test_a_trace_goes_on_with_the_candidate(queue: Queue) -> None:
    delivery = await admitted(queue)
    await queue.forward(delivery, a_candidate(delivery.payload))
    [candidate] = await queue.take_candidates("verifier", 1, 0.1)
    assert candidate.trace == TRACE
    assert candidate.added_at >= delivery.added_at


async def test_a_trace_outlives_a_failed_attempt_and_a_worker_that_ended(queue: Queue) -> None:
    await queue.fail(await admitted(queue), "it broke", may_retry=True)
    [again] = await queue.take_jobs("second", 1, 0.1)
    await queue.release(again)
    [once_more] = await queue.take_jobs("third", 1, 0.1)
    assert again.trace == once_more.trace == TRACE


async def test_a_trace_outlives_a_worker_that_died(make_settings: MakeSettings) -> None:
    queue = await Queue.connect(make_settings(lease_s=0.1))
    await admitted(queue)
    await asyncio.sleep(0.15)
    [taken_over] = await queue.take_jobs("other", 1, 0.1)
    assert taken_over.trace == TRACE
    await queue.close()


async def test_a_trace_comes_back_from_the_dead_letters(queue: Queue) -> None:
    await queue.fail(await admitted(queue), "it broke", may_retry=False)
    [letter] = [letter async for letter in queue.dead_letters()]
    assert await queue.requeue(letter)
    [again] = await queue.take_jobs("other", 1, 0.1)
    assert again.trace == TRACE


async def test_an_entry_without_a_trace_has_no_field_for_it(queue: Queue, settings: Settings) -> None:
    await queue.admit([a_job()])
    [delivery] = await queue.take_jobs("pairer", 1, 0.1)
    await queue.fail(delivery, "it broke", may_retry=True)
    [(_, fields)] = await queue.redis.xrange(f"{{{settings.namespace}}}:jobs")
    assert set(fields) == {"id", "payload"}
    [again] = await queue.take_jobs("pairer", 1, 0.1)
    assert again.trace is None
