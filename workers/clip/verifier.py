"""The verifier's loop: take a batch, load its images, score it, decide, store, acknowledge; several batches overlap."""

import asyncio
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from uuid import uuid4

import structlog
import torch
from torch import Tensor

from pairs.clock import now
from pairs.ending import end
from pairs.errors import JudgefreeError, NotAnImage, QueueUnavailable, StoreUnavailable
from pairs.model import Answers, Pair
from pairs.queue import Queue
from pairs.settings import Settings
from pairs.store import Store
from pairs.tracing import Tracing
from workers.clip.batching import BatchPlan, fill
from workers.clip.health import Metrics
from workers.clip.held import Held
from workers.clip.outages import Patience
from workers.clip.scorer import Loaded, Scorer
from workers.clip.traces import Moments, tell_batch, tell_failure, tell_waits
from workers.clip.verdict import Provenance, finished, rule, time_spent

_IDLE_S = 1.0
"""Longest wait for work; a stop is noticed after it."""
_BATCHES = 3
"""Batches at a time: one loading, one in the encoder, one being stored."""
_IMAGES_AWAY_S = 60.0
"""How long the image store may be away before a pair's attempt counts as failed."""

log = structlog.get_logger()


class Verifier:
    """One verifying process; `run` returns when `stopping` is set and what it holds is settled."""

    def __init__(
        self,
        queue: Queue,
        store: Store,
        scorer: Scorer,
        settings: Settings,
        by: Provenance,
        metrics: Metrics,
        stopping: asyncio.Event,
        tracing: Tracing,
    ) -> None:
        self._consumer = f"{socket.gethostname()}-{uuid4().hex[:12]}"
        self._queue = queue
        self._store = store
        self._scorer = scorer
        self._plan = BatchPlan(settings.batch_size, settings.batch_age_s)
        self._threshold = settings.margin_threshold
        self._lease_s = settings.lease_s
        self._by = by
        self._metrics = metrics
        self._stopping = stopping
        self._tracing = tracing
        self._patience = Patience(stopping)
        self._held: dict[str, Held] = {}
        self._encoding = asyncio.Lock()

    async def run(self) -> None:
        slots = asyncio.Semaphore(_BATCHES)
        async with asyncio.TaskGroup() as group:
            renewing = group.create_task(self._renew())
            try:
                async with asyncio.TaskGroup() as batches:
                    while not self._stopping.is_set():
                        await slots.acquire()
                        batch = await fill(self._take, self._plan, _IDLE_S, self._stopping.is_set)
                        batches.create_task(self._verify(batch)).add_done_callback(lambda _: slots.release())
            finally:
                await end(renewing)

    async def _take(self, count: int, wait_s: float) -> list[Held]:
        try:
            taken = await self._queue.take_candidates(self._consumer, count, wait_s)
        except QueueUnavailable as error:
            log.warning("queue_away", detail=error.detail)
            await self._patience.pause(1)
            return []
        # What was held through an outage longer than the lease comes back to its holder as if it were new.
        held = [Held(delivery, now()) for delivery in taken if delivery.entry not in self._held]
        self._held |= {one.delivery.entry: one for one in held}
        tell_waits(self._tracing, held)
        self._metrics.held.set(len(self._held))
        return held

    async def _verify(self, batch: Sequence[Held]) -> None:
        if not batch:
            return
        self._metrics.batch_size.observe(len(batch))
        moments = Moments(len(batch))
        try:
            with self._stage("load"):
                loaded = await self._load(batch)
            async with self._encoding:
                moments.encoding = now()
                loaded = self._recall(loaded)
                with self._stage("encode"):
                    decided = await self._decide([one for one in batch if one.sha256 in loaded], loaded, moments)
            with self._stage("store"):
                stored = await self._insert(decided)
            moments.stored = now()
            with self._stage("acknowledge"):
                await self._finish(stored)
            tell_batch(self._tracing, stored, moments)
        except (QueueUnavailable, StoreUnavailable) as error:  # only while stopping: else the outage is waited out
            await self._give_back(batch, error)
        finally:
            for one in batch:
                self._held.pop(one.delivery.entry, None)
            self._metrics.held.set(len(self._held))

    async def _give_back(self, batch: Sequence[Held], why: JudgefreeError) -> None:
        """Leave what cannot be settled to the next verifier: at once, or after the lease when the queue is away."""
        log.warning("left_to_the_next_verifier", pair_ids=_ids(batch), detail=why.detail)
        try:
            await asyncio.gather(*(self._queue.release(one.delivery) for one in batch))
        except QueueUnavailable as error:
            log.warning("queue_away", detail=error.detail)

    async def _load(self, batch: Sequence[Held]) -> dict[str, Loaded]:
        """The images of the batch by SHA-256; candidates whose image cannot be had are failed."""
        wanted = list(dict.fromkeys(one.sha256 for one in batch))
        outcomes = await asyncio.gather(*(self._load_one(sha256) for sha256 in wanted))
        complaints = {}
        loaded: dict[str, Loaded] = {}
        for sha256, outcome in zip(wanted, outcomes, strict=True):
            if isinstance(outcome, Exception):
                complaints[sha256] = outcome
            else:
                loaded[sha256] = outcome
        for one in batch:
            if one.sha256 in complaints:
                await self._fail(one, complaints[one.sha256])
        return loaded

    def _recall(self, loaded: dict[str, Loaded]) -> dict[str, Loaded]:
        """With the embedding of each image that another batch has encoded while this one loaded it or waited."""
        known = self._scorer.recall(loaded)
        are_pixels = [isinstance(image, Tensor) for image in known.values()]
        self._metrics.images.labels("remembered").inc(are_pixels.count(False))
        self._metrics.images.labels("encoded").inc(are_pixels.count(True))
        return known

    async def _load_one(self, sha256: str) -> Loaded | Exception:
        began = asyncio.get_running_loop().time()
        attempt = 0
        while True:
            try:
                return await self._scorer.load(sha256)
            except NotAnImage as error:
                return error
            except Exception as error:  # noqa: BLE001 - each image store has its own errors for being away
                if self._stopping.is_set() or asyncio.get_running_loop().time() - began > _IMAGES_AWAY_S:
                    return error
                attempt += 1
                log.warning("images_away", sha256=sha256, error=repr(error))
                await self._patience.pause(attempt)

    async def _decide(self, batch: list[Held], loaded: dict[str, Loaded], moments: Moments) -> list[tuple[Held, Pair]]:
        """The pairs of the batch. Where the encoder fails on it, one by one, and who fails alone is failed."""
        if not batch:
            return []
        try:
            answers = await asyncio.to_thread(self._scorer.score, [one.candidate for one in batch], loaded)
        except torch.AcceleratorError:
            raise  # the device is lost to this process: end, and let the next one begin anew
        except Exception as error:  # noqa: BLE001 - torch, tokenizer and splitter each have errors of their own
            if len(batch) == 1:
                await self._fail(batch[0], error)
                return []
            log.warning("batch_failed", pair_ids=_ids(batch), error=repr(error))
            return [found for one in batch for found in await self._decide([one], loaded, moments)]
        moments.scored = now()
        decided = [(one, self._pair(one, found, moments.scored)) for one, found in zip(batch, answers, strict=True)]
        moments.decided = now()
        return decided

    def _pair(self, one: Held, answers: Answers, decided_at: datetime) -> Pair:
        ruling = rule(answers.normal, answers.injected, self._threshold)
        spent = time_spent(one.candidate, one.taken_at, decided_at)
        return finished(one.candidate, answers, ruling, self._by, spent)

    async def _insert(self, verdicts: Sequence[tuple[Held, Pair]]) -> list[tuple[Held, Pair]]:
        """Store the pairs; those the store refuses for what they hold are failed, the others returned."""
        try:
            await self._patience.outlast(lambda: self._store.insert([pair for _, pair in verdicts]), "store_away")
        except StoreUnavailable:
            raise
        except Exception as error:  # noqa: BLE001 - what a database refuses in a value, it refuses by its own errors
            if len(verdicts) == 1:
                await self._fail(verdicts[0][0], error)
                return []
            return [found for verdict in verdicts for found in await self._insert([verdict])]
        return list(verdicts)

    async def _finish(self, stored: Sequence[tuple[Held, Pair]]) -> None:
        deliveries = [one.delivery for one, _ in stored]
        firsts = await self._patience.outlast(lambda: self._queue.finish(deliveries), "queue_away")
        for (_, pair), is_first in zip(stored, firsts, strict=True):
            if not is_first or pair.decision is None:
                continue  # another verifier took it over, stored the same and was faster
            self._metrics.decided(pair)
            log.info("pair_verified", pair_id=pair.id, decision=pair.decision, reason=pair.reason, margin=pair.margin)

    async def _fail(self, one: Held, error: Exception) -> None:
        is_final = isinstance(error, NotAnImage)
        # The reason is public: an error that is not ours may quote paths and addresses, so those are for the log only.
        reason = error.detail if isinstance(error, NotAnImage) else f"The verifier failed on it: {type(error).__name__}"
        outcome = await self._patience.outlast(
            lambda: self._queue.fail(one.delivery, reason, may_retry=not is_final), "queue_away"
        )
        self._metrics.failures.labels(outcome).inc()
        tell_failure(self._tracing, one, error, outcome)
        log.warning("pair_failed", pair_id=one.delivery.pair_id, outcome=outcome, error=repr(error))

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(self._lease_s / 3)
            held = [one.delivery for one in self._held.values()]
            try:
                if held:
                    await self._queue.renew(self._consumer, held)
            except QueueUnavailable as error:
                log.warning("lease_not_renewed", entries=len(held), detail=error.detail)

    @contextmanager
    def _stage(self, name: str) -> Iterator[None]:
        with self._metrics.stage.labels(name).time():
            yield


def _ids(batch: Sequence[Held]) -> list[str]:
    return [one.delivery.pair_id for one in batch]
