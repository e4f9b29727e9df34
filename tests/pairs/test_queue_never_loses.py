"""Whatever the order of work, crashes, late answers and failures, an accepted pair is in exactly one place."""

import asyncio
from collections import Counter
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from pairs.model import Candidate, Job, PairId
from pairs.queue import DeadLetter, Delivery, Depth, Queue, Stage
from pairs.settings import load_settings
from tests.examples import a_candidate, a_job

CONSUMERS = st.sampled_from(["a", "b", "c"])


class QueueUnderCrashes(RuleBasedStateMachine):
    """Workers take entries and then settle them, settle them late, or never: a lease of 1 ms makes every entry that
    is in work open to a take-over at the next look."""

    redis_url: str
    jobs: Bundle[Delivery[Job]] = Bundle("jobs")
    candidates: Bundle[Delivery[Candidate]] = Bundle("candidates")

    @initialize()
    def connect(self) -> None:
        self.loop = asyncio.Runner()
        own = load_settings(
            redis_url=self.redis_url, namespace=f"machine-{uuid4().hex}", lease_s=0.001, max_attempts=2000
        )
        self.queue = self.run(Queue.connect(own))
        self.accepted: set[PairId] = set()
        self.finished: Counter[PairId] = Counter()

    def run(self, awaitable: Any) -> Any:
        return self.loop.run(awaitable)

    @rule(count=st.integers(1, 3))
    def admit(self, count: int) -> None:
        self.accepted.update(self.run(self.queue.admit([a_job() for _ in range(count)])))

    @rule(target=jobs, consumer=CONSUMERS, count=st.integers(1, 3))
    def take_jobs(self, consumer: str, count: int) -> Any:
        return multiple(*self.run(self.queue.take_jobs(consumer, count, 0.001)))

    @rule(target=candidates, consumer=CONSUMERS, count=st.integers(1, 3))
    def take_candidates(self, consumer: str, count: int) -> Any:
        return multiple(*self.run(self.queue.take_candidates(consumer, count, 0.001)))

    @rule(delivery=jobs)  # not consumed: a worker that was thought dead may answer late, and twice
    def forward(self, delivery: Delivery[Job]) -> None:
        self.run(self.queue.forward(delivery, a_candidate(delivery.payload)))

    @rule(delivery=candidates)
    def finish(self, delivery: Delivery[Candidate]) -> None:
        self.finished[delivery.pair_id] += self.run(self.queue.finish([delivery]))[0]

    @rule(delivery=jobs, may_retry=st.booleans())
    def fail_job(self, delivery: Delivery[Job], may_retry: bool) -> None:
        self.run(self.queue.fail(delivery, "spoilt", may_retry=may_retry))

    @rule(delivery=candidates, may_retry=st.booleans())
    def fail_candidate(self, delivery: Delivery[Candidate], may_retry: bool) -> None:
        self.run(self.queue.fail(delivery, "spoilt", may_retry=may_retry))

    @rule(delivery=jobs)
    def release_job(self, delivery: Delivery[Job]) -> None:
        self.run(self.queue.release(delivery))

    @rule(delivery=candidates)
    def release_candidate(self, delivery: Delivery[Candidate]) -> None:
        self.run(self.queue.release(delivery))

    @rule(delivery=consumes(jobs))
    def crash_with_a_job(self, delivery: Delivery[Job]) -> None:
        """The worker is gone; nobody settles this delivery any more."""

    @rule()
    def requeue_the_dead(self) -> None:
        for letter in self.run(_collect(self.queue)):
            assert self.run(self.queue.requeue(letter))

    @invariant()
    def every_accepted_pair_is_in_one_place(self) -> None:
        if not hasattr(self, "queue"):
            return
        places = Counter(self.finished)
        for stream in (*Stage, "dead"):
            entries = self.run(self.queue.redis.xrange(f"{self.queue.doorbell.removesuffix('doorbell')}{stream}"))
            places.update(fields["id"] for _, fields in entries)
        assert places == Counter(self.accepted)

    def teardown(self) -> None:
        if not hasattr(self, "queue"):
            return
        self.requeue_the_dead()
        while self.run(self.queue.depth()) != Depth(0, 0, 0):
            for job in self.run(self.queue.take_jobs("last", 50, 0.003)):
                self.forward(job)
            for candidate in self.run(self.queue.take_candidates("last", 50, 0.003)):
                self.finish(candidate)
        assert self.finished == Counter(self.accepted)
        assert self.run(self.queue.in_flight(sorted(self.accepted))) == {}
        self.run(self.queue.close())
        self.loop.close()


async def _collect(queue: Queue) -> list[DeadLetter]:
    return [letter async for letter in queue.dead_letters()]


@pytest.mark.timeout(120)
def test_an_accepted_pair_is_always_in_exactly_one_place_and_all_come_out(valkey_url: str) -> None:
    machine = type("Machine", (QueueUnderCrashes,), {"redis_url": valkey_url})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=40,
            stateful_step_count=25,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
        ),
    )
