"""A store with pairs of every verdict, two policies and two methods, each with an image of its own."""

import asyncio
import io
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from pairs.blobs import Blobs
from pairs.clock import now
from pairs.model import Decision, Hallucination, ImageRef, Method, Pair, Policy, Verdict
from pairs.settings import Settings
from pairs.store import Store
from service.export import SCHEMA, row
from tests.examples import a_pair
from trainer.rows import StoreSource
from trainer.snapshot import Snapshots

COUNT = 20
HALLUCINATIONS = (
    Hallucination(method=Method.BLEND, ratio=0.5),
    Hallucination(method=Method.BLEND, ratio=0.7),
    Hallucination(method=Method.DROP, ratio=1.0),
)
Filled = list[tuple[Pair, bytes]]


def a_png(shade: int) -> bytes:
    written = io.BytesIO()
    Image.new("RGB", (48, 48), (shade, 2 * shade, 255 - shade)).save(written, "PNG")
    return written.getvalue()


async def fill(settings: Settings, count: int = COUNT) -> Filled:
    """Kept, swapped and discarded pairs in turn; the first and the third are swapped by a person."""
    store, blobs = await Store.open(settings.store_url), Blobs(settings.images_url)
    filled = []
    for index in range(count):
        png = a_png(index)
        decision = list(Decision)[index % 3]
        size = 0.3 + index / 100
        changes = {
            "image": ImageRef(sha256=await blobs.put(png), width=48, height=48, media_type="image/png"),
            "margin": -size if decision is Decision.SWAPPED else size,
            "policy": Policy(model="tiny", adapter="round-1" if index % 3 == 0 else None),
            "hallucination": HALLUCINATIONS[index % 4 % 3],
            "created_at": now() - timedelta(hours=index % 2),
        }
        filled.append((a_pair(decision, **changes), png))
    await store.insert([pair for pair, _ in filled])
    reviewed = {index: await store.review(filled[index][0].id, Verdict.SWAP) for index in (0, 2)}
    await store.close()
    return [(reviewed.get(index, pair), png) for index, (pair, png) in enumerate(filled)]


def write_parquet(path: Path, filled: Filled) -> Path:
    """The file that the gateway's export of these pairs is."""
    pq.write_table(pa.Table.from_pylist([row(pair, png) for pair, png in filled], SCHEMA), path)
    return path


async def review(settings: Settings, pair: Pair, verdict: Verdict) -> None:
    store = await Store.open(settings.store_url)
    await store.review(pair.id, verdict)
    await store.close()


@pytest.fixture
def filled(settings: Settings) -> Filled:
    return asyncio.run(fill(settings))


@pytest.fixture
def source(settings: Settings, filled: Filled) -> StoreSource:
    return StoreSource(settings.store_url, settings.images_url)


@pytest.fixture
def snapshots(settings: Settings) -> Snapshots:
    return Snapshots(settings.snapshots_url, settings.images_url)
