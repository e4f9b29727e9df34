"""One verifying process: health first, then the model, then the queue and the store, then work until a signal."""

import asyncio
import signal
from contextlib import AsyncExitStack, closing
from functools import partial

import structlog

from pairs import model
from pairs.blobs import Blobs
from pairs.errors import QueueUnavailable, StoreUnavailable
from pairs.queue import Queue
from pairs.settings import Settings, public_name
from pairs.store import Store
from pairs.tracing import open_tracing
from workers.clip.encoder import Encoder
from workers.clip.gpu import Gpu
from workers.clip.health import Health, Metrics, serving
from workers.clip.images import Images
from workers.clip.outages import Patience
from workers.clip.scorer import Scorer
from workers.clip.verdict import Provenance
from workers.clip.verifier import Verifier

log = structlog.get_logger()


async def serve(settings: Settings) -> None:
    """Verify until SIGTERM or SIGINT, and then settle what is held. Raises MissingModel, SettingsError."""
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    health, metrics, patience = Health(), Metrics(), Patience(stopping)
    tracing = open_tracing(settings, "verifier")
    with closing(tracing), serving(settings.host, settings.verifier_port, health, metrics):
        encoder = await asyncio.to_thread(Encoder.load, settings.clip, settings.clip_device, settings.clip_dtype)
        log.info("model_loaded", clip=settings.clip, device=encoder.device, dtype=encoder.dtype, scorer=settings.scorer)
        if encoder.device == "cuda":
            metrics.watch(Gpu())
        scorer = Scorer(encoder, Images(Blobs(settings.images_url, metrics.blob_latency), encoder), settings.scorer)
        by = Provenance(model.Verifier(model=public_name(settings.clip), scorer=scorer.name), encoder.versions)
        async with AsyncExitStack() as opened:
            try:
                queue = await patience.outlast(lambda: Queue.connect(settings), "queue_away")
                opened.push_async_callback(queue.close)
                open_store = partial(Store.open, settings.store_url, metrics.store_latency)
                store = await patience.outlast(open_store, "store_away")
                opened.push_async_callback(store.close)
            except (QueueUnavailable, StoreUnavailable):
                log.info("stopped")  # told to stop before there was any work
                return
            health.ready_when(queue.ping)
            await Verifier(queue, store, scorer, settings, by, metrics, stopping, tracing).run()
    log.info("stopped")
