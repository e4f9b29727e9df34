"""Jobs become candidates: each job's requests go to one replica together, and come back as two answers."""

import asyncio
import os
import socket
from collections.abc import Coroutine, Sequence
from importlib.metadata import version
from typing import Any, Self
from uuid import uuid4

import structlog

from pairs.blobs import Blobs
from pairs.clock import now
from pairs.ending import end
from pairs.errors import GenerationFailed, ModelUnavailable, QueueUnavailable, StoreUnavailable
from pairs.model import Candidate, GroundingMethod, Job, Method, RawAnswer
from pairs.queue import Delivery, Queue
from pairs.settings import Settings
from pairs.tracing import NO_SPAN, Span, Tracing, of_job
from service.draws import keyed_int, misleading_prompt
from service.images import mixed_with_noise
from service.metrics import Metrics
from service.mllm import InternalFault, Mllm, NotServed, Question, Role, Served, Twin
from service.replica import Replica
from service.turns import Turns
from service.watch import ModelWatch

_BLOCK_S = 0.25
_BACK_OFF_S = 1.0
_AHEAD = 8
"""Jobs taken beyond those in generation, so that the model does not wait for the queue; taken by the half of it."""
_RENEWALS_A_LEASE = 3

MIXES_AT_A_TIME = 2
"""An image that is mixed with noise takes up to 48 bytes a pixel meanwhile."""

_VERSION = version("judgefree")
_logger = structlog.get_logger(__name__)


class UnequalTwins(GenerationFailed):
    """Paired decoding broke its promise for one pair."""


class Pairer:
    """The consumer of `jobs` in this process. It takes none while the model is away, and outlives Redis and the store.

    On leaving it takes no more, waits `grace_s` for what is in work, and gives the rest back.
    """

    def __init__(
        self, queue: Queue, blobs: Blobs, watch: ModelWatch, turns: Turns, metrics: Metrics, settings: Settings,
        tracing: Tracing, grace_s: float = 8,
    ) -> None:  # fmt: skip
        self._queue, self._blobs, self._watch, self._turns = queue, blobs, watch, turns
        self._metrics, self._settings, self._tracing, self._grace_s = metrics, settings, tracing, grace_s
        self._mixing = asyncio.Semaphore(MIXES_AT_A_TIME)
        self._consumer = f"pairer-{socket.gethostname()}-{os.getpid()}-{uuid4().hex[:8]}"
        self._in_work: dict[asyncio.Task[None], Delivery[Job]] = {}
        self._is_stopping = False
        self._loops: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        self._loops = [
            asyncio.create_task(self._consume(), name="pairer"),
            asyncio.create_task(self._renew(), name="lease renewal"),
        ]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._is_stopping = True
        consumer, renewal = self._loops
        await consumer
        if self._in_work:
            await asyncio.wait(self._in_work, timeout=self._grace_s)
        await end(*self._in_work)
        await end(renewal)

    async def _consume(self) -> None:
        while not self._is_stopping:
            free = self._turns.room + _AHEAD - len(self._in_work)
            if free < _AHEAD // 2:
                await asyncio.wait(self._in_work, timeout=_BLOCK_S, return_when=asyncio.FIRST_COMPLETED)
            elif await self._watch.wait(_BLOCK_S):
                await self._take(free)

    async def _take(self, count: int) -> None:
        try:
            deliveries = await self._queue.take_jobs(self._consumer, count, _BLOCK_S)
        except QueueUnavailable:
            _logger.warning("the queue is away")
            await asyncio.sleep(_BACK_OFF_S)
            return
        except Exception:  # whatever it is, the next jobs must not wait for ever
            _logger.exception("jobs could not be taken")
            await asyncio.sleep(_BACK_OFF_S)
            return
        in_work = {delivery.entry for delivery in self._in_work.values()}
        for delivery in deliveries:
            if (
                delivery.entry in in_work
            ):  # held through an outage longer than the lease, it comes back as if it were new
                continue
            task = asyncio.create_task(self._work(delivery), name=delivery.pair_id)
            self._in_work[task] = delivery
            task.add_done_callback(self._done)
        self._metrics.in_work.set(len(self._in_work))

    def _done(self, task: "asyncio.Task[None]") -> None:
        delivery = self._in_work.pop(task)
        self._metrics.in_work.set(len(self._in_work))
        if not task.cancelled() and (error := task.exception()) is not None:
            _logger.error("a pair was left to its lease", pair_id=delivery.pair_id, exc_info=error)

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(self._settings.lease_s / _RENEWALS_A_LEASE)
            try:
                await self._queue.renew(self._consumer, list(self._in_work.values()))
            except Exception:  # an attempt missed is made up for by the next
                _logger.exception("leases could not be renewed", pairs=len(self._in_work))

    async def _work(self, delivery: Delivery[Job]) -> None:
        """Bring one job to its end, whatever it is: forwarded, failed, or given back."""
        log = _logger.bind(pair_id=delivery.pair_id)
        try:
            candidate = await self._candidate(delivery)
        except asyncio.CancelledError:
            await self._queue.release(delivery)
            log.info("given back", cause="shutdown")
            raise
        except ModelUnavailable:
            await self._persist(self._give_back, delivery, log)
        except GenerationFailed as error:
            await self._failed(delivery, error, log)
        except FileNotFoundError:
            failure = GenerationFailed("its image is no longer in the image store", is_permanent=True)
            await self._failed(delivery, failure, log)
        except (OSError, StoreUnavailable) as error:
            log.warning("the store or the image store is away", cause=repr(error))
            await asyncio.sleep(_BACK_OFF_S)
            await self._persist(self._give_back, delivery, log)
        except Exception as error:
            log.exception("unexpected error in generation")
            await self._failed(delivery, GenerationFailed(f"unexpected error: {type(error).__name__}"), log)
        else:
            await self._persist(self._queue.forward, delivery, candidate)
            self._metrics.generated.labels(delivery.payload.hallucination.method.value).inc()
            waited = candidate.generation_started_at - candidate.job.created_at
            self._metrics.wait_s.observe(max(0.0, waited.total_seconds()))  # the clocks of two gateways may differ
            seconds = (candidate.generated_at - candidate.generation_started_at).total_seconds()
            self._metrics.generation_s.observe(seconds)
            log.info("generated", seconds=round(seconds, 3))

    async def _give_back(self, delivery: Delivery[Job], log: Any) -> None:
        outcome = await self._queue.release(delivery)
        self._metrics.failures.labels(outcome).inc()
        log.warning("given back", outcome=outcome)

    async def _failed(self, delivery: Delivery[Job], error: GenerationFailed, log: Any) -> None:
        if isinstance(error, UnequalTwins):
            self._metrics.unequal_twins.inc()
        outcome = await self._persist(self._fail, delivery, error)
        self._metrics.failures.labels(outcome).inc()
        log.warning("generation failed", reason=error.detail, outcome=outcome)

    async def _fail(self, delivery: Delivery[Job], error: GenerationFailed) -> str:
        return await self._queue.fail(delivery, error.detail, may_retry=not error.is_permanent)

    async def _persist(self, settle: Any, *arguments: Any) -> Any:
        """Settle, however long Redis is away; on the way down the lease does it."""
        while True:
            try:
                return await settle(*arguments)
            except QueueUnavailable:
                if self._is_stopping:
                    raise
                await asyncio.sleep(_BACK_OFF_S)

    async def _candidate(self, delivery: Delivery[Job]) -> Candidate:
        job, trace = delivery.payload, delivery.trace
        png = await self._blobs.get(job.image.sha256)
        async with self._turns.taken() as replica:
            structlog.contextvars.bind_contextvars(replica=replica.name)
            started = now()
            served = replica.served()
            self._tracing.begin("wait for generation", trace, start=delivery.added_at).end(started)
            about = {**of_job(job), "judgefree.replica": replica.name}
            with self._tracing.begin("generation", trace, about, start=started) as span:
                normal, injected = await self._answers(replica, served, job, png, span)
        return Candidate(
            job=job,
            normal=normal,
            injected=injected,
            policy=served.policy.model_copy(update={"adapter": job.adapter}),
            versions={"judgefree": _VERSION, "vllm": served.version},
            generation_started_at=started,
            generated_at=now(),
        )

    async def _answers(
        self, replica: Replica, served: Served, job: Job, png: bytes, span: Span
    ) -> tuple[RawAnswer, RawAnswer]:
        """As `_once`; asked again when vLLM had lost the image: it believes to have one whose request was broken off,
        and learns that it has not by failing (vLLM 0.32, "cache drift" in its log)."""
        try:
            return await self._once(replica, served, job, png, span)
        except InternalFault:
            return await self._once(replica, served, job, png, span)

    async def _once(
        self, replica: Replica, served: Served, job: Job, png: bytes, span: Span
    ) -> tuple[RawAnswer, RawAnswer]:
        if job.adapter is None:
            return await answers(replica.mllm, served.name, job, png, self._mixing, span)
        await replica.loader.ensure(served, job.adapter)
        try:
            return await answers(replica.mllm, job.adapter, job, png, self._mixing, span)
        except NotServed:  # a replica that was started anew knows no adapter
            await replica.loader.restore(served, job.adapter)
            return await answers(replica.mllm, job.adapter, job, png, self._mixing, span)


async def answers(
    mllm: Mllm, model: str, job: Job, png: bytes, mixing: asyncio.Semaphore, span: Span = NO_SPAN
) -> tuple[RawAnswer, RawAnswer]:
    """The normal and the injected answer to `job` of `model`, which may be an adapter's name; traced within `span`.

    `mixing` bounds how many images are mixed with noise at a time. Raises UnequalTwins when twins did not decode as
    one.
    """
    seed, injected_seed = (keyed_int(job.seed, job.image.sha256, role) for role in ("normal", "injected"))
    normal = _normal_questions(job, png, seed)
    injected = await _injected_questions(job, png, injected_seed, mixing)
    asked = [("normal", question) for question in normal] + [("injected", question) for question in injected]
    found = await _together(*(_ask(mllm, model, question, answer, span) for answer, question in asked))
    return _one(found[: len(normal)]), _one(found[len(normal) :])


async def _ask(mllm: Mllm, model: str, question: Question, answer: str, span: Span) -> RawAnswer:
    name = answer if question.twin is None else f"{answer} {question.twin.role}"
    with span.child(name, kind="client") as asking:
        return await mllm.ask(model, question, asking.trace)


def _one(same: Sequence[RawAnswer]) -> RawAnswer:
    """The answer of one request, or of twins."""
    if any(other != same[0] for other in same):
        reasons = " and ".join(answer.finish_reason for answer in same)
        raise UnequalTwins(f"the twins came back unequal: {reasons}")
    return same[0]


def _normal_questions(job: Job, png: bytes, seed: int) -> list[Question]:
    if job.grounding.method is GroundingMethod.PLAIN:
        return [Question(job.prompt, png, job.sampling, seed)]
    return _twins(job, png, seed, job.grounding.ratio)


async def _injected_questions(job: Job, png: bytes, seed: int, mixing: asyncio.Semaphore) -> list[Question]:
    match job.hallucination.method, job.hallucination.ratio:
        case Method.BLEND, float(ratio):
            return _twins(job, png, seed, ratio)
        case Method.NOISE, float(share):
            async with mixing:
                noisy = await asyncio.to_thread(mixed_with_noise, png, share, seed)
            return [Question(job.prompt, noisy, job.sampling, seed)]
        case Method.PROMPT, _:
            prompt = misleading_prompt(job.prompt, job.seed, job.image.sha256)
            return [Question(prompt, png, job.sampling, seed)]
    return [Question(job.prompt, None, job.sampling, seed)]


def _twins(job: Job, png: bytes, seed: int, ratio: float) -> list[Question]:
    twin_id = f"{job.id}:{uuid4().hex}"  # new for each attempt: a twin of an attempt that died may still be there
    sides: tuple[tuple[Role, bytes | None], ...] = (("grounded", png), ("blind", None))
    return [Question(job.prompt, image, job.sampling, seed, Twin(twin_id, role, ratio)) for role, image in sides]


async def _together(*requests: Coroutine[Any, Any, RawAnswer]) -> list[RawAnswer]:
    """All the answers; the first error ends the other requests, so that no twin waits for one that will not come."""
    tasks = [asyncio.create_task(request) for request in requests]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        await end(*tasks)
