"""Finished pairs, with what it takes to hold them against the truth: from a file of either form, or from the store."""

import asyncio
import base64
import binascii
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from pairs.blobs import Blobs
from pairs.model import Decision, DiscardReason, ImageRef, Pair
from pairs.store import PairFilter, Store
from trainer.evaluation.errors import UnreadableDataSet
from trainer.evaluation.rows import Row, read_rows

_BATCH = 256


@dataclass(frozen=True)
class FinishedPair:
    """A pair as the verifier left it; a person's review does not count here.

    The image is known by `file`, the name under which it was submitted, and `kept`, what the gateway has of it, or by
    `image`, its bytes; `ratio` is the hallucination ratio h, where the method has one.
    """

    id: str
    normal: str
    injected: str
    decision: Decision
    reason: str | None
    margin: float | None
    ratio: float | None
    file: str | None = None
    kept: ImageRef | None = None
    image: bytes | None = None

    @classmethod
    def of(cls, pair: Pair, file: str | None = None, image: bytes | None = None) -> "FinishedPair | None":
        """None for a pair that is not done."""
        if pair.answers is None or pair.decision is None:
            return None
        return cls(
            id=pair.id,
            normal=pair.answers.normal.text,
            injected=pair.answers.injected.text,
            decision=pair.decision,
            reason=pair.reason,
            margin=pair.margin,
            ratio=pair.hallucination.ratio,
            file=file,
            kept=pair.image,
            image=image,
        )

    @property
    def deciding_margin(self) -> float | None:
        """The margin where it decides: None for a pair that was discarded for what its answers are."""
        return self.margin if self.reason in (None, DiscardReason.WITHIN_THRESHOLD) else None


def read_pairs(file: Path) -> Iterator[FinishedPair]:
    """The finished pairs of a JSON-lines file that `judgefree submit` wrote, or that the gateway exported as `jsonl`.

    Raises UnreadableDataSet at the first line that is of neither form.
    """
    for where, row in read_rows(file):
        try:
            found = _exported(row) if "answers.normal.text" in row else _submitted(row)
        except (KeyError, TypeError, ValueError, IndexError, ValidationError, binascii.Error) as error:
            said = str(error).partition("\n")[0]
            raise UnreadableDataSet(f"{where}: not a pair as `submit` or `export` writes it ({said}).") from error
        if found is not None:
            yield found


def stored_pairs(store_url: str, images_url: str) -> Iterator[FinishedPair]:
    """The finished pairs of a store, with their images. Raises StoreUnavailable. Call it outside an event loop."""
    with asyncio.Runner() as runner:
        store, blobs = runner.run(Store.open(store_url)), Blobs(images_url)
        batches = store.scan(PairFilter(), _BATCH)
        try:
            while (batch := runner.run(_next(batches))) is not None:
                images = runner.run(_images(batch, blobs))
                found = (FinishedPair.of(pair, image=image) for pair, image in zip(batch, images, strict=True))
                yield from (pair for pair in found if pair is not None)
        finally:
            runner.run(store.close())


async def _next(batches: AsyncIterator[list[Pair]]) -> list[Pair] | None:
    return await anext(batches, None)


async def _images(batch: list[Pair], blobs: Blobs) -> list[bytes]:
    return await asyncio.gather(*(blobs.get(pair.image.sha256) for pair in batch))


def _submitted(row: Row) -> FinishedPair | None:
    file = row.get("file")
    pair = Pair.model_validate({name: value for name, value in row.items() if name != "file"})
    return FinishedPair.of(pair, file=None if file is None else str(file))


def _exported(row: Row) -> FinishedPair:
    return FinishedPair(
        id=str(row["id"]),
        normal=str(row["answers.normal.text"]),
        injected=str(row["answers.injected.text"]),
        decision=Decision(row["decision"]),
        reason=row["reason"],
        margin=None if row["margin"] is None else float(row["margin"]),
        ratio=None if row["hallucination.ratio"] is None else float(row["hallucination.ratio"]),
        image=base64.b64decode(row["images"][0]["bytes"], validate=True),
    )
