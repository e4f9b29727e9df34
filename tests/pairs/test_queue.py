"""The queue on a real Valkey: what is accepted is delivered until it is settled, and settled once."""

import asyncio
from typing import Any

import pytest

from pairs.clock import new_pair_id
from pairs.errors import IdempotencyConflict, QueueFull, QueueUnavailable
from pairs.model import Status
from pairs.queue import GROUP, Idempotency, Queue
from pairs.settings import Settings
from tests.conftest import MakeSettings
from tests.examples import a_candidate, a_job


async def test_a_job_goes_through_both_stages_and_leaves_nothing(queue: Queue) -> None:
    job = a_job()
    await queue.admit([job])
    assert (await queue.in_flight([job.id]))[job.id].status is Status.QUEUED
    [delivery] = await queue.take_jobs("pairer", 8, 0.1)
    assert delivery.payload == job
    assert (await queue.in_flight([job.id]))[job.id].status is Status.GENERATING
    candidate = a_candidate(job)
    assert await queue.forward(delivery, candidate)
    assert (await queue.in_flight([job.id]))[job.id].status is Status.VERIFYING
    [verifying] = await queue.take_candidates("verifier", 8, 0.1)
    assert verifying.payload == candidate
    assert await queue.finish([verifying]) == [True]
    assert await queue.in_flight([job.id]) == {}
    depth = await queue.depth()
    assert (depth.jobs, depth.candidates, depth.dead) == (0, 0, 0)


async def test_settling_an_entry_twice_does_nothing(queue: Queue) -> None:
    job = a_job()
    await queue.admit([job])
    [delivery] = await queue.take_jobs("a", 1, 0.1)
    assert await queue.forward(delivery, a_candidate(job))
    assert not await queue.forward(delivery, a_candidate(job))
    assert await queue.fail(delivery, "late", may_retry=True) == "gone"
    assert (await queue.depth()).candidates == 1


async def test_an_entry_of_a_silent_worker_goes_to_another(make_settings: MakeSettings) -> None:
    queue = await Queue.connect(make_settings(lease_s=0.1))
    await queue.admit([a_job()])
    [first] = await queue.take_jobs("killed", 1, 0.1)
    assert await queue.take_jobs("other", 1, 0.01) == []
    await asyncio.sleep(0.15)
    [second] = await queue.take_jobs("other", 1, 0.1)
    assert second.entry == first.entry
    await queue.close()


async def test_a_renewed_lease_keeps_an_entry(make_settings: MakeSettings) -> None:
    queue = await Queue.connect(make_settings(lease_s=0.4))
    await queue.admit([a_job()])
    [delivery] = await queue.take_jobs("slow", 1, 0.1)
    for _ in range(4):
        await asyncio.sleep(0.15)
        await queue.renew("slow", [delivery])
    assert await queue.take_jobs("other", 1, 0.01) == []
    await queue.close()


async def test_an_entry_that_kills_its_workers_goes_to_the_dead_letters(make_settings: MakeSettings) -> None:
    queue = await Queue.connect(make_settings(lease_s=0.05, max_attempts=2))
    job = a_job()
    await queue.admit([job])
    for worker in range(2):
        assert len(await queue.take_jobs(f"dies-{worker}", 1, 0.1)) == 1
        await asyncio.sleep(0.1)
    assert await queue.take_jobs("next", 1, 0.01) == []
    [letter] = [letter async for letter in queue.dead_letters()]
    assert (letter.pair_id, letter.stage) == (job.id, "jobs")
    assert "died 2 times" in letter.reason
    await queue.close()


async def test_a_failing_job_has_its_attempts_then_rests_among_the_dead_letters(make_settings: MakeSettings) -> None:
    queue = await Queue.connect(make_settings(max_attempts=3))
    job = a_job()
    await queue.admit([job])
    outcomes = []
    for _ in range(3):
        [delivery] = await queue.take_jobs("pairer", 1, 0.1)
        outcomes.append(await queue.fail(delivery, "twins differ", may_retry=True))
    assert outcomes == ["retry", "retry", "dead"]
    failed = (await queue.in_flight([job.id]))[job.id]
    assert (failed.status, failed.reason) == (Status.FAILED, "twins differ")
    [letter] = [letter async for letter in queue.dead_letters()]
    assert await queue.requeue(letter)
    assert not await queue.requeue(letter)
    [again] = await queue.take_jobs("pairer", 1, 0.1)
    assert again.payload == job
    assert await queue.fail(again, "once more", may_retry=True) == "retry"
    await queue.close()


async def test_past_the_bound_nothing_of_a_request_is_accepted(make_settings: MakeSettings) -> None:
    queue = await Queue.connect(make_settings(max_in_flight=3))
    await queue.admit([a_job(), a_job()])
    with pytest.raises(QueueFull):
        await queue.admit([a_job(), a_job()])
    assert (await queue.depth()).jobs == 2
    await queue.admit([a_job()])
    await queue.close()


async def test_an_idempotency_key_stands_for_one_request(queue: Queue) -> None:
    key = Idempotency("k", "fingerprint")
    ids = await queue.admit([a_job(), a_job()], key)
    assert await queue.admit([a_job(), a_job()], key) == ids
    assert (await queue.depth()).jobs == 2
    with pytest.raises(IdempotencyConflict):
        await queue.admit([a_job()], Idempotency("k", "another"))


async def test_many_clients_with_one_key_are_accepted_once(queue: Queue) -> None:
    key = Idempotency("k", "f")
    answers = await asyncio.gather(*(queue.admit([a_job()], key) for _ in range(20)))
    assert len({tuple(ids) for ids in answers}) == 1
    assert (await queue.depth()).jobs == 1


async def test_a_queue_that_is_away_is_said_so(make_settings: MakeSettings) -> None:
    with pytest.raises(QueueUnavailable):
        await Queue.connect(make_settings(redis_url="redis://127.0.0.1:1/0"))


async def test_a_released_entry_keeps_its_attempts_until_it_looks_like_the_cause(make_settings: MakeSettings) -> None:
    queue = await Queue.connect(make_settings(max_releases=2, max_attempts=1))
    job = a_job()
    await queue.admit([job])
    for _ in range(2):
        [delivery] = await queue.take_jobs("a", 1, 0.1)
        assert await queue.release(delivery) == "released"
        assert (await queue.in_flight([job.id]))[job.id].status is Status.QUEUED
        assert await queue.release(delivery) == "gone"
    [delivery] = await queue.take_jobs("a", 1, 0.1)
    assert await queue.release(delivery) == "dead"
    assert (await queue.in_flight([job.id]))[job.id].status is Status.FAILED
    assert (await queue.depth()).jobs == 0
    await queue.close()


async def test_an_entry_that_cannot_be_read_does_not_stop_the_others(queue: Queue, settings: Settings) -> None:
    stream = f"{{{settings.namespace}}}:jobs"
    await queue.redis.xadd(stream, {"id": new_pair_id(), "payload": '{"of": "another version"}'})
    job = a_job()
    await queue.admit([job])
    [delivery] = await queue.take_jobs("a", 8, 0.1)
    assert delivery.payload == job
    [letter] = [letter async for letter in queue.dead_letters()]
    assert "cannot be read" in letter.reason


async def test_a_new_stage_and_a_new_life_begin_without_releases(make_settings: MakeSettings) -> None:
    queue = await Queue.connect(make_settings(max_releases=1))
    job = a_job()
    await queue.admit([job])
    [delivery] = await queue.take_jobs("pairer", 1, 0.1)
    assert await queue.release(delivery) == "released"
    [delivery] = await queue.take_jobs("pairer", 1, 0.1)
    assert await queue.forward(delivery, a_candidate(job))
    for outcome in ("released", "dead"):
        [candidate] = await queue.take_candidates("verifier", 1, 0.1)
        assert await queue.release(candidate) == outcome
    [letter] = [letter async for letter in queue.dead_letters()]
    assert await queue.requeue(letter)
    [candidate] = await queue.take_candidates("verifier", 1, 0.1)
    assert await queue.release(candidate) == "released"
    await queue.close()


async def test_a_late_mark_takes_no_pair_back(make_settings: MakeSettings) -> None:
    queue = await Queue.connect(make_settings(max_attempts=1))
    failed, verifying = a_job(), a_job()
    await queue.admit([failed, verifying])
    first, second = await queue.take_jobs("pairer", 2, 0.1)
    await queue.fail(first, "spoilt", may_retry=True)
    await queue.forward(second, a_candidate(verifying))
    keys = [queue.doorbell.replace("doorbell", f"pair:{job.id}") for job in (failed, verifying)]
    await queue._scripts["mark"](keys=keys, args=[Status.GENERATING])
    states = await queue.in_flight([failed.id, verifying.id])
    assert [states[job.id].status for job in (failed, verifying)] == [Status.FAILED, Status.VERIFYING]
    await queue.close()


@pytest.mark.parametrize(
    ("refusing", "again"),
    [
        (("CONFIG", "SET", "maxmemory", "1"), ("CONFIG", "SET", "maxmemory", "0")),
        (("CONFIG", "SET", "min-replicas-to-write", "1"), ("CONFIG", "SET", "min-replicas-to-write", "0")),
        (("REPLICAOF", "127.0.0.1", "1"), ("REPLICAOF", "NO", "ONE")),
    ],
)
async def test_a_redis_that_takes_no_writes_is_away(queue: Queue, refusing: tuple[str, ...], again: Any) -> None:
    await queue.redis.execute_command(*refusing)
    try:
        with pytest.raises(QueueUnavailable):
            await queue.admit([a_job()])
    finally:
        await queue.redis.execute_command(*again)
    await queue.admit([a_job()])
    assert len(await queue.take_jobs("pairer", 1, 0.1)) == 1


async def test_an_entry_that_kills_its_workers_takes_no_neighbour_with_it(make_settings: MakeSettings) -> None:
    queue = await Queue.connect(make_settings(lease_s=0.3))
    poison, *good = [a_job() for _ in range(5)]
    await queue.admit([good[0], poison, *good[1:]])
    settled = set()
    for worker in range(20):
        while taken := await queue.take_jobs(f"worker-{worker}", 8, 0.01):
            if poison.id in {one.pair_id for one in taken}:
                assert worker < 2 or len(taken) == 1
                assert not await queue.take_jobs(f"worker-{worker}", 8, 0.01)  # and no more while it is in work
                break  # this worker dies
            for one in taken:
                settled.add(one.pair_id)
                await queue.forward(one, a_candidate(one.payload))
        if (await queue.depth()).dead:
            break
        await asyncio.sleep(0.35)
    assert settled == {job.id for job in good}
    assert [letter.pair_id async for letter in queue.dead_letters()] == [poison.id]
    await queue.close()


async def test_a_suspect_in_work_is_seen_however_much_its_consumer_holds_beside_it(
    make_settings: MakeSettings,
) -> None:
    queue = await Queue.connect(make_settings(lease_s=30))
    others, suspect, next_one = [a_job() for _ in range(1000)], a_job(), a_job()
    await queue.admit([*others, suspect])
    held = await queue.take_jobs("busy", 2000, 0.1)
    assert held[-1].pair_id == suspect.id
    stream = queue.doorbell.replace("doorbell", "jobs")
    await queue.redis.xclaim(stream, GROUP, "busy", 0, [held[-1].entry], retrycount=3)  # its workers died twice before
    await queue.admit([next_one])
    looking = await Queue.connect(make_settings(lease_s=30))  # the first has looked a moment ago
    assert await looking.take_jobs("busy", 8, 0.01) == []
    await queue.forward(held[-1], a_candidate(suspect))
    [taken] = await looking.take_jobs("busy", 8, 0.01)
    assert taken.pair_id == next_one.id
    await looking.close()
    await queue.close()
