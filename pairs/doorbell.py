"""Waiting for pairs to be settled: one subscription for a whole process, however many requests wait on it."""

import asyncio
from collections.abc import Iterable

from redis.exceptions import RedisError

from pairs.background import Background
from pairs.model import PairId
from pairs.queue import Queue

_RETRY_S = 0.5


class Doorbell(Background):
    """Rings for settled pairs. A ring may be missed while Redis is away: who waits looks again now and then."""

    def __init__(self, queue: Queue) -> None:
        self._queue = queue
        self._waiting: dict[PairId, set[asyncio.Event]] = {}

    async def wait(self, pair_ids: Iterable[PairId], timeout_s: float) -> None:
        """Return when one of the pairs is settled, or after `timeout_s`."""
        event = asyncio.Event()
        wanted = list(pair_ids)
        for pair_id in wanted:
            self._waiting.setdefault(pair_id, set()).add(event)
        try:
            await asyncio.wait_for(event.wait(), timeout_s)
        except TimeoutError:
            return
        finally:
            for pair_id in wanted:
                self._waiting[pair_id].discard(event)
                if not self._waiting[pair_id]:
                    del self._waiting[pair_id]

    async def _run(self) -> None:
        while True:
            try:
                async with self._queue.redis.pubsub() as channel:
                    await channel.subscribe(self._queue.doorbell)
                    async for message in channel.listen():
                        if message["type"] == "message":
                            self._ring(PairId(message["data"]))
            except (RedisError, OSError):
                await asyncio.sleep(_RETRY_S)  # Redis is away: the queue's own calls say so to whoever asks

    def _ring(self, pair_id: PairId) -> None:
        for event in self._waiting.get(pair_id, ()):
            event.set()
