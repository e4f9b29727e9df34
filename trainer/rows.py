"""Training rows, from the store, an exported Parquet file or finished pairs: the same pairs give the same rows."""

import asyncio
import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from pairs.blobs import Blobs
from pairs.errors import JudgefreeError
from pairs.model import Pair, Policy, Verdict
from pairs.store import PairFilter, Store
from trainer.arrange import Arrangement, arrange, read_finished

_BATCH = 256
_LABELS = ("id", "prompt", "chosen", "rejected", "decision", "verdict", "margin", "policy.model", "policy.adapter")
_COLUMNS = (*_LABELS, "created_at", "image.sha256", "hallucination.method")


class UnreadableSource(JudgefreeError):
    type, title = "unreadable-source", "The pairs cannot be read"


@dataclass(frozen=True)
class Row:
    """What training needs to know of a pair that has a chosen and a rejected answer.

    `margin` is score(chosen) - score(rejected), so it is negative where a person overruled the verifier. `policy` is
    MODEL or MODEL@ADAPTER, `method` how the hallucination was injected. `image` holds the bytes of the image file
    where they were asked for.
    """

    id: str
    image_sha256: str
    prompt: str
    chosen: str
    rejected: str
    margin: float | None
    verdict: str
    method: str
    policy: str
    image: bytes | None = None


class Source(Protocol):
    """Where rows come from. Pairs without a chosen and a rejected answer are no rows."""

    @property
    def name(self) -> str: ...

    @property
    def carries_images(self) -> bool:
        """Whether the images are in the source itself rather than in the image store."""
        ...

    def rows(self, wanted: PairFilter, *, with_images: bool) -> Iterator[Row]:
        """The rows of the wanted pairs; memory does not grow with their number. Call it outside an event loop."""


class StoreSource:
    """The pairs in the store behind `store_url`, their images in the image store behind `images_url`."""

    name = "store"
    carries_images = False

    def __init__(self, store_url: str, images_url: str) -> None:
        self._store_url = store_url
        self._images_url = images_url

    def rows(self, wanted: PairFilter, *, with_images: bool) -> Iterator[Row]:
        with asyncio.Runner() as runner:
            store = runner.run(Store.open(self._store_url))
            blobs = Blobs(self._images_url) if with_images else None
            batches = store.scan(wanted, _BATCH)
            try:
                while (batch := runner.run(_next(batches))) is not None:
                    found = [pair for pair in batch if pair.chosen is not None and pair.rejected is not None]
                    yield from runner.run(_with_images(found, blobs))
            finally:
                runner.run(store.close())


class ParquetSource:
    """The pairs in a Parquet file that was exported by the gateway. Raises UnreadableSource when it is none."""

    carries_images = True

    def __init__(self, path: Path) -> None:
        self.name = str(path)
        self._path = path
        try:
            missing = set(_COLUMNS) - set(pq.read_schema(path).names)
        except (OSError, pa.ArrowInvalid) as error:
            raise UnreadableSource(f"{path} is not a Parquet file that can be read.") from error
        if missing:
            raise UnreadableSource(f"{path} is not an export of pairs: it has no column {min(missing)}.")

    def rows(self, wanted: PairFilter, *, with_images: bool) -> Iterator[Row]:
        columns = [*_COLUMNS, *(["images"] if with_images else [])]
        with pq.ParquetFile(self._path) as file:
            for batch in file.iter_batches(_BATCH, columns=columns):
                yield from (_row(cells) for cells in batch.to_pylist() if _is_wanted(cells, wanted))


class PairsFile:
    """The pairs of a file that `judgefree submit` wrote, under an arrangement; their images in the image store.

    Raises UnreadablePairs when the file is none.
    """

    carries_images = False

    def __init__(self, path: Path, how: Arrangement, images_url: str) -> None:
        self.name = f"{path}, {how}"
        self._path = path
        self._how = how
        self._images_url = images_url

    def rows(self, wanted: PairFilter, *, with_images: bool) -> Iterator[Row]:
        blobs = Blobs(self._images_url) if with_images else None
        for _, pair in arrange(read_finished(self._path), self._how):
            if _is_wanted(_cells(pair), wanted):
                yield from asyncio.run(_with_images([pair], blobs)) if blobs else [_row_of(pair)]


async def _next(batches: Any) -> list[Pair] | None:
    found: list[Pair] | None = await anext(batches, None)
    return found


async def _with_images(found: Iterable[Pair], blobs: Blobs | None) -> list[Row]:
    rows = [_row_of(pair) for pair in found]
    if blobs is None:
        return rows
    contents = await asyncio.gather(*(blobs.get(row.image_sha256) for row in rows))
    return [replace(row, image=content) for row, content in zip(rows, contents, strict=True)]


def _row_of(pair: Pair) -> Row:
    policy = pair.policy or Policy(model="")
    return Row(
        id=pair.id,
        image_sha256=pair.image.sha256,
        prompt=pair.prompt,
        chosen=pair.chosen or "",
        rejected=pair.rejected or "",
        margin=_towards_chosen(pair.margin, str(pair.verdict)),
        verdict=str(pair.verdict),
        method=pair.hallucination.method,
        policy=_policy(policy.model, policy.adapter),
    )


def _towards_chosen(margin: float | None, verdict: str) -> float | None:
    """The margin of the normal answer over the injected one, turned to that of the chosen one over the rejected."""
    return -margin if margin is not None and verdict == Verdict.SWAP else margin


def _policy(model: str, adapter: str | None) -> str:
    return f"{model}@{adapter}" if adapter else model


def _row(cells: dict[str, Any]) -> Row:
    image = cells["images"][0]["bytes"] if "images" in cells else None
    if image is not None and hashlib.sha256(image).hexdigest() != cells["image.sha256"]:
        raise UnreadableSource(f"The image of pair {cells['id']} is not the one that its SHA-256 names.")
    [prompt], [chosen], [rejected] = cells["prompt"], cells["chosen"], cells["rejected"]
    return Row(
        id=cells["id"],
        image_sha256=cells["image.sha256"],
        prompt=prompt["content"],
        chosen=chosen["content"],
        rejected=rejected["content"],
        margin=_towards_chosen(cells["margin"], cells["verdict"]),
        verdict=cells["verdict"],
        method=cells["hallucination.method"],
        policy=_policy(cells["policy.model"], cells["policy.adapter"]),
        image=image,
    )


def _cells(pair: Pair) -> dict[str, Any]:
    """What `_is_wanted` looks at."""
    policy = pair.policy or Policy(model="")
    return {
        "decision": pair.decision,
        "verdict": pair.verdict,
        "margin": pair.margin,
        "policy.model": policy.model,
        "policy.adapter": policy.adapter,
        "created_at": pair.created_at.isoformat(),
        "chosen": pair.chosen,
        "rejected": pair.rejected,
    }


def _is_wanted(cells: dict[str, Any], wanted: PairFilter) -> bool:
    """The conditions of `PairFilter`, on an exported row."""
    model, _, adapter = (wanted.policy or "").partition("@")
    tests: list[tuple[object, Callable[[], bool]]] = [
        (wanted.decision, lambda: cells["decision"] == wanted.decision),
        (wanted.verdicts, lambda: cells["verdict"] in (wanted.verdicts or ())),
        (wanted.min_margin, lambda: _size(cells["margin"]) >= (wanted.min_margin or 0)),
        (model or None, lambda: cells["policy.model"] == model),
        (adapter or None, lambda: cells["policy.adapter"] == adapter),
        (wanted.since, lambda: wanted.since is None or datetime.fromisoformat(cells["created_at"]) >= wanted.since),
    ]
    is_row = cells["chosen"] is not None and cells["rejected"] is not None
    return is_row and all(holds() for asked, holds in tests if asked is not None)


def _size(margin: float | None) -> float:
    return -1.0 if margin is None else abs(margin)
