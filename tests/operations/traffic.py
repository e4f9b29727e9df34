"""Pairs on their way through the real queue and store, each step by its own task: a part may go at any moment.

The steps are those of the gateway, of its pairer and of the verifier; only what the models would say is made up.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Self

import numpy as np

from pairs.blobs import Blobs
from pairs.ending import end
from pairs.model import ImageRef, Pair, PairId
from pairs.queue import Depth, Queue
from pairs.settings import Settings
from pairs.store import PairFilter, Store
from tests.examples import a_candidate, a_job, a_pair

_BLOCK_S = 0.05
_BATCH = 4


@dataclass
class Traffic:
    """What works on a deployment, and the ids that it has accepted so far."""

    queue: Queue
    store: Store
    blobs: Blobs
    accepted: list[PairId] = field(default_factory=list)

    @classmethod
    @asynccontextmanager
    async def on(cls, settings: Settings) -> AsyncIterator[Self]:
        queue, store = await Queue.connect(settings), await Store.open(settings.store_url)
        try:
            yield cls(queue, store, Blobs(settings.images_url))
        finally:
            await queue.close()
            await store.close()

    async def accept(self, count: int) -> None:
        for _ in range(count):
            sha256 = await self.blobs.put(np.random.default_rng(len(self.accepted)).bytes(2000))
            job = a_job(image=ImageRef(sha256=sha256, width=48, height=48, media_type="image/png"))
            self.accepted += await self.queue.admit([job])

    async def accept_for_ever(self) -> None:
        while True:
            await self.accept(1)
            await asyncio.sleep(0.01)

    async def generate_for_ever(self) -> None:
        while True:
            for job in await self.queue.take_jobs("pairer", _BATCH, _BLOCK_S):
                await self.queue.forward(job, a_candidate(job.payload))
            await asyncio.sleep(0.02)

    async def verify_for_ever(self) -> None:
        while True:
            taken = await self.queue.take_candidates("verifier", _BATCH, _BLOCK_S)
            found = [one.payload.job for one in taken]
            await self.store.insert([a_pair(id=job.id, image=job.image, created_at=job.created_at) for job in found])
            await self.queue.finish(taken)
            await asyncio.sleep(0.02)

    @asynccontextmanager
    async def flowing(self, *, accepting: bool) -> AsyncIterator[None]:
        """Work in the background, new pairs too if `accepting`; on leaving, all of it stops where it is."""
        steps = [self.generate_for_ever(), self.verify_for_ever()] + ([self.accept_for_ever()] if accepting else [])
        tasks = [asyncio.create_task(step) for step in steps]
        try:
            yield
        finally:
            for task in tasks:
                assert not task.done(), task.exception()
            await end(*tasks, again_s=0.1)

    async def stored(self) -> list[Pair]:
        return [pair async for batch in self.store.scan(PairFilter()) for pair in batch]

    async def has_stored(self, count: int, timeout_s: float = 60) -> None:
        """Wait until so many pairs are finished."""
        async with asyncio.timeout(timeout_s):
            while True:
                if len(await self.stored()) >= count:
                    return
                await asyncio.sleep(0.01)

    async def settled(self, timeout_s: float = 60) -> Depth:
        """The queue's depth once nothing waits or is in work."""
        async with asyncio.timeout(timeout_s):
            while True:
                depth = await self.queue.depth()
                if depth.jobs == depth.candidates == 0:
                    return depth
                await asyncio.sleep(0.05)
