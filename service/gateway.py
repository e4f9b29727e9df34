"""The gateway's parts, opened in dependency order and closed in the reverse."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from pairs.adapters import Adapters
from pairs.blobs import Blobs
from pairs.doorbell import Doorbell
from pairs.queue import Queue
from pairs.settings import Settings
from pairs.store import Store
from pairs.tracing import Tracing
from service.adapters import Shelf
from service.bodies import Room
from service.fitting import Fitting
from service.metrics import Metrics, Tally
from service.pairer import Pairer
from service.turns import Turns
from service.watch import ModelWatch

_DECODES_AT_A_TIME = 2
"""An image in decoding takes up to four bytes a pixel, twice."""


@dataclass(frozen=True)
class Gateway:
    """What the routes work with."""

    settings: Settings
    queue: Queue
    store: Store
    blobs: Blobs
    doorbell: Doorbell
    shelf: Shelf
    watch: ModelWatch
    fitting: Fitting
    metrics: Metrics
    tally: Tally
    decoding: asyncio.Semaphore
    room: Room
    tracing: Tracing


@asynccontextmanager
async def open_gateway(settings: Settings, metrics: Metrics, tracing: Tracing) -> AsyncIterator[Gateway]:
    """A gateway at work, its pairer included; raises QueueUnavailable or StoreUnavailable when one is not there.

    On leaving, the pairer finishes or gives back what is in work before anything else closes.
    """
    async with AsyncExitStack() as parts:
        parts.push_async_callback(asyncio.to_thread, tracing.close)
        queue = await Queue.connect(settings)
        parts.push_async_callback(queue.close)
        store = await Store.open(settings.store_url, metrics.store_latency)
        parts.push_async_callback(store.close)
        blobs = Blobs(settings.images_url, metrics.blob_latency)
        doorbell = await parts.enter_async_context(Doorbell(queue))
        tally = await parts.enter_async_context(Tally(queue, store))
        registry = await Adapters.open(settings.store_url)
        parts.push_async_callback(registry.close)
        shelf = Shelf(registry, settings)
        watch = await parts.enter_async_context(ModelWatch(settings, shelf))
        turns = Turns(watch, settings.pairer_concurrency)
        await parts.enter_async_context(Pairer(queue, blobs, watch, turns, metrics, settings, tracing))
        decoding = asyncio.Semaphore(_DECODES_AT_A_TIME)
        yield Gateway(
            settings, queue, store, blobs, doorbell, shelf, watch, Fitting(), metrics, tally, decoding,
            Room(settings), tracing,
        )  # fmt: skip
