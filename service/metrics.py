"""What Prometheus reads at `/metrics`: counters where things happen, gauges of what a moment's look showed."""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Mapping
from typing import Final, TypeVar, get_args

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from pairs.background import Background
from pairs.errors import JudgefreeError, QueueUnavailable, StoreUnavailable
from pairs.measures import STAGE_S, add_process, blob_latency, store_latency
from pairs.model import Decision
from pairs.queue import Backlog, Depth, Queue
from pairs.store import Store
from service.choice import State

RATE_WINDOW_S: Final = 60.0
_PERIOD_S: Final = 2.0
_REQUEST_S: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)

Found = TypeVar("Found")

_log = structlog.get_logger(__name__)


class Metrics:
    """The gateway's own measures, in a registry of their own."""

    def __init__(self) -> None:
        registry = self.registry = CollectorRegistry()
        add_process(registry)
        self.store_latency, self.blob_latency = store_latency(registry), blob_latency(registry)
        self.requests = Counter(
            "judgefree_http_requests", "HTTP requests", ["method", "route", "status"], registry=registry
        )
        self.request_s = Histogram(
            "judgefree_http_request_seconds",
            "From a request to the end of its answer, waiting under `Prefer: wait` included",
            ["method", "route"],
            buckets=_REQUEST_S,
            registry=registry,
        )
        self.admitted = Counter("judgefree_pairs_admitted", "Pairs accepted", registry=registry)
        self.generated = Counter("judgefree_pairs_generated", "Pairs with both answers", ["method"], registry=registry)
        self.failures = Counter(
            "judgefree_generation_failures", "Attempts at a pair that failed", ["outcome"], registry=registry
        )
        for outcome in ("retry", "dead", "gone", "released"):
            self.failures.labels(outcome)  # a rate is seen of what was there before it grew
        self.unequal_twins = Counter("judgefree_unequal_twins", "Twins that came back unequal", registry=registry)
        self.wait_s = Histogram(
            "judgefree_generation_wait_seconds",
            "From a pair's admission to the start of its generation",
            buckets=STAGE_S,
            registry=registry,
        )
        self.generation_s = Histogram(
            "judgefree_generation_seconds",
            "From the start of a pair's generation to its candidate",
            buckets=STAGE_S,
            registry=registry,
        )
        self.in_work = Gauge("judgefree_pairs_in_generation", "Pairs in generation here", registry=registry)
        self._up = Gauge("judgefree_part_up", "1 while the part answers", ["part"], registry=registry)
        self._replicas = Gauge(
            "judgefree_mllm_replicas", "vLLM replicas as this gateway sees them", ["state"], registry=registry
        )
        self._depth = Gauge("judgefree_queue_depth", "Entries in each stream", ["stream"], registry=registry)
        self._lag = Gauge(
            "judgefree_queue_lag", "Entries that no worker was given yet, of each stream", ["stream"], registry=registry
        )
        self._oldest = Gauge(
            "judgefree_queue_oldest_seconds",
            "Age of the oldest entry of each stream since it was last put there, 0 without one",
            ["stream"],
            registry=registry,
        )
        self._memory = Gauge("judgefree_queue_memory_bytes", "Memory that Valkey's data takes", registry=registry)
        self._aof = Gauge("judgefree_queue_aof_bytes", "Size of Valkey's append-only file", registry=registry)
        self._takes_writes = Gauge(
            "judgefree_queue_takes_writes", "0 after Valkey failed to write its append-only file", registry=registry
        )
        self._decisions = Gauge("judgefree_pairs", "Finished pairs in the store", ["decision"], registry=registry)
        self._rate = Gauge("judgefree_pairs_per_second", "Finished pairs over the last minute", registry=registry)

    def show(
        self, backlog: Backlog | None, decisions: Mapping[Decision, int] | None, rate: float, model_up: bool,
        replicas: Mapping[State, int],
    ) -> None:  # fmt: skip
        """Set the gauges; what is None could not be had, so its gauges stay as they last were and its part is down."""
        if backlog is not None:
            self._show(backlog)
        if decisions is not None:
            for decision, count in decisions.items():
                self._decisions.labels(decision.value).set(count)
            self._rate.set(rate)
        for part, is_up in (("queue", backlog is not None), ("store", decisions is not None), ("model", model_up)):
            self._up.labels(part).set(is_up)
        for state in get_args(State):
            self._replicas.labels(state).set(replicas.get(state, 0))

    def _show(self, backlog: Backlog) -> None:
        for stream, age_s in backlog.oldest_s.items():
            self._depth.labels(stream).set(getattr(backlog.depth, stream))
            self._oldest.labels(stream).set(age_s)
        for stage, lag in backlog.lag.items():
            self._lag.labels(stage).set(lag)
        self._memory.set(backlog.memory_bytes)
        self._aof.set(backlog.aof_bytes or 0)
        self._takes_writes.set(backlog.takes_writes)

    def text(self) -> bytes:
        return generate_latest(self.registry)


async def _or_none(look: Awaitable[Found]) -> Found | None:
    try:
        return await look
    except (QueueUnavailable, StoreUnavailable):
        return None


class Tally(Background):
    """How many finished pairs there are, and how many came per second of late: one look at the store now and then."""

    def __init__(self, queue: Queue, store: Store) -> None:
        self._queue, self._store = queue, store
        self._looks: deque[tuple[float, int]] = deque()
        self.in_flight = 0
        """Pairs accepted and not done, as of the last look."""

    async def look(self) -> tuple[Depth, dict[Decision, int]]:
        """The depth of the queue and the finished pairs of each decision, now."""
        depth, decisions = await asyncio.gather(self._queue.depth(), self._store.counts())
        self._note(sum(decisions.values()))
        self.in_flight = depth.in_flight
        return depth, decisions

    async def look_at_each(self) -> tuple[Backlog | None, dict[Decision, int] | None]:
        """The whole backlog and the finished pairs of each decision, now, with None for what is away."""
        backlog, decisions = await asyncio.gather(_or_none(self._queue.backlog()), _or_none(self._store.counts()))
        if decisions is not None:
            self._note(sum(decisions.values()))
        return backlog, decisions

    def pairs_per_second(self) -> float:
        """Finished pairs per second over the last minute, or since the first look if that is later."""
        if len(self._looks) < 2:
            return 0.0
        (start, before), (end, after) = self._looks[0], self._looks[-1]
        return max(0, after - before) / (end - start) if end > start else 0.0

    def _note(self, total: int) -> None:
        now = time.monotonic()
        self._looks.append((now, total))
        while len(self._looks) > 2 and self._looks[1][0] <= now - RATE_WINDOW_S:
            self._looks.popleft()

    async def _run(self) -> None:
        while True:
            try:
                await self.look()
            except JudgefreeError as error:
                _log.warning("no tally", detail=error.detail)
            await asyncio.sleep(_PERIOD_S)
