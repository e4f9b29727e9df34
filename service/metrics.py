"""What Prometheus reads at `/metrics`: counters where things happen, gauges of what a moment's look showed."""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Mapping
from typing import Final, TypeVar

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from pairs.background import Background
from pairs.errors import JudgefreeError, QueueUnavailable, StoreUnavailable
from pairs.model import Decision
from pairs.queue import Depth, Queue
from pairs.store import Store

RATE_WINDOW_S: Final = 60.0
_PERIOD_S: Final = 2.0
_GENERATION_BUCKETS: Final = (0.1, 0.25, 0.5, 1, 2, 4, 8, 15, 30, 60, 120, 300)

Found = TypeVar("Found")

_log = structlog.get_logger(__name__)


class Metrics:
    """The gateway's own measures, in a registry of their own."""

    def __init__(self) -> None:
        registry = self.registry = CollectorRegistry()
        self.requests = Counter(
            "judgefree_http_requests", "HTTP requests", ["method", "route", "status"], registry=registry
        )
        self.admitted = Counter("judgefree_pairs_admitted", "Pairs accepted", registry=registry)
        self.generated = Counter("judgefree_pairs_generated", "Pairs with both answers", ["method"], registry=registry)
        self.failures = Counter(
            "judgefree_generation_failures", "Attempts at a pair that failed", ["outcome"], registry=registry
        )
        self.unequal_twins = Counter("judgefree_unequal_twins", "Twins that came back unequal", registry=registry)
        self.generation_s = Histogram(
            "judgefree_generation_seconds",
            "From taking a job to its candidate",
            buckets=_GENERATION_BUCKETS,
            registry=registry,
        )
        self.in_work = Gauge("judgefree_pairs_in_generation", "Pairs in generation here", registry=registry)
        self._up = Gauge("judgefree_part_up", "1 while the part answers", ["part"], registry=registry)
        self._depth = Gauge("judgefree_queue_depth", "Entries in each stream", ["stream"], registry=registry)
        self._decisions = Gauge("judgefree_pairs", "Finished pairs in the store", ["decision"], registry=registry)
        self._rate = Gauge("judgefree_pairs_per_second", "Finished pairs over the last minute", registry=registry)

    def show(self, depth: Depth | None, decisions: Mapping[Decision, int] | None, rate: float, model_up: bool) -> None:
        """Set the gauges; what is None could not be had, so its gauges stay as they last were and its part is down."""
        if depth is not None:
            for name in ("jobs", "candidates", "dead"):
                self._depth.labels(name).set(getattr(depth, name))
        if decisions is not None:
            for decision, count in decisions.items():
                self._decisions.labels(decision.value).set(count)
            self._rate.set(rate)
        for part, is_up in (("queue", depth is not None), ("store", decisions is not None), ("model", model_up)):
            self._up.labels(part).set(is_up)

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

    async def look(self) -> tuple[Depth, dict[Decision, int]]:
        """The depth of the queue and the finished pairs of each decision, now."""
        depth, decisions = await asyncio.gather(self._queue.depth(), self._store.counts())
        self._note(sum(decisions.values()))
        return depth, decisions

    async def look_at_each(self) -> tuple[Depth | None, dict[Decision, int] | None]:
        """As `look`, with None for what is away."""
        depth, decisions = await asyncio.gather(_or_none(self._queue.depth()), _or_none(self._store.counts()))
        if decisions is not None:
            self._note(sum(decisions.values()))
        return depth, decisions

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
