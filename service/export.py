"""Finished pairs as files: Parquet and JSON lines, with the columns that TRL's vision DPO reads, and provenance.

TRL (1.16, `DataCollatorForVisionPreference`) takes `images`, and conversational `prompt`, `chosen`, `rejected`. The
contents are plain strings: it puts the image's place before the first user text itself, and a list of typed parts
would carry a null `text` in each image part once it has been through Arrow, which chat templates stumble over.
"""

import asyncio
import base64
import json
import tempfile
from collections.abc import AsyncIterator
from typing import IO, Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from pairs.model import Answer, Pair
from pairs.store import PairFilter
from service.gateway import Gateway
from service.reading import image_of

_BATCH: Final = 64
_CHUNK_BYTES: Final = 2**20

_MESSAGES = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
_SENTENCES = pa.list_(pa.struct([("text", pa.string()), ("score", pa.float64())]))
_IMAGES = pa.list_(pa.struct([("bytes", pa.binary()), ("path", pa.string())]))


def _answer_columns(name: str) -> list[tuple[str, pa.DataType]]:
    prefix = f"answers.{name}"
    return [
        (f"{prefix}.text", pa.string()),
        (f"{prefix}.finish_reason", pa.string()),
        (f"{prefix}.score", pa.float64()),
        (f"{prefix}.sentences", _SENTENCES),
    ]


_COLUMNS: Final[list[tuple[str, pa.DataType]]] = [
    ("images", _IMAGES),
    ("prompt", _MESSAGES),
    ("chosen", _MESSAGES),
    ("rejected", _MESSAGES),
    ("id", pa.string()),
    ("created_at", pa.string()),
    ("decision", pa.string()),
    ("reason", pa.string()),
    ("review", pa.string()),
    ("verdict", pa.string()),
    ("margin", pa.float64()),
    ("hallucination.method", pa.string()),
    ("hallucination.ratio", pa.float64()),
    ("grounding.method", pa.string()),
    ("grounding.ratio", pa.float64()),
    ("seed", pa.int64()),
    ("sampling.max_tokens", pa.int64()),
    ("sampling.temperature", pa.float64()),
    ("sampling.top_p", pa.float64()),
    ("sampling.top_k", pa.int64()),
    *_answer_columns("normal"),
    *_answer_columns("injected"),
    ("policy.model", pa.string()),
    ("policy.adapter", pa.string()),
    ("verifier.model", pa.string()),
    ("verifier.scorer", pa.string()),
    ("image.sha256", pa.string()),
    ("image.width", pa.int64()),
    ("image.height", pa.int64()),
    ("image.media_type", pa.string()),
    ("timings.queue_s", pa.float64()),
    ("timings.generate_s", pa.float64()),
    ("timings.verify_queue_s", pa.float64()),
    ("timings.verify_s", pa.float64()),
    ("timings.total_s", pa.float64()),
    ("versions", pa.string()),
]


def _feature(kind: pa.DataType) -> dict[str, Any]:
    if kind == _IMAGES:
        return {"feature": {"_type": "Image"}, "_type": "List"}
    if pa.types.is_list(kind):
        struct = kind.value_type
        return {"feature": {field.name: _feature(field.type) for field in struct}, "_type": "List"}
    return {"dtype": {"double": "float64"}.get(str(kind), str(kind)), "_type": "Value"}


def _schema() -> pa.Schema:
    """The columns, with the metadata by which Hugging Face's `datasets` reads `images` as images."""
    features = {name: _feature(kind) for name, kind in _COLUMNS}
    return pa.schema(_COLUMNS, metadata={"huggingface": json.dumps({"info": {"features": features}})})


SCHEMA: Final = _schema()


def row(pair: Pair, png: bytes) -> dict[str, Any]:
    """The exported row of a finished pair."""
    shape = pair.model_dump(mode="json")
    flat = {
        f"{group}.{name}": value
        for group in ("hallucination", "grounding", "sampling", "policy", "verifier", "image", "timings")
        for name, value in (shape[group] or {}).items()
    }
    answers = {"normal": pair.answers.normal, "injected": pair.answers.injected} if pair.answers else {}
    for name, answer in answers.items():
        flat |= _answer_cells(f"answers.{name}", answer)
    same = ("id", "created_at", "decision", "reason", "review", "margin", "seed")
    return {
        "images": [{"bytes": png, "path": f"{pair.image.sha256}.png"}],
        "prompt": _messages("user", pair.prompt),
        "chosen": _messages("assistant", pair.chosen),
        "rejected": _messages("assistant", pair.rejected),
        **{name: shape[name] for name in same},
        "verdict": pair.verdict,
        **flat,
        "versions": json.dumps(pair.versions, sort_keys=True),
    }


async def parquet(gateway: Gateway, wanted: PairFilter) -> IO[bytes]:
    """The Parquet file, open at its start; it has no name, so it is gone once closed."""
    file: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  the caller sends it, then closes it
    try:
        with pq.ParquetWriter(file, SCHEMA, compression="zstd") as writer:
            async for batch in _batches(gateway, wanted):
                table = await asyncio.to_thread(pa.Table.from_pylist, batch, SCHEMA)
                await asyncio.to_thread(writer.write_table, table)
        file.seek(0)
    except BaseException:
        file.close()
        raise
    return file


async def chunks(file: IO[bytes]) -> AsyncIterator[bytes]:
    """The file's bytes; closes it at the end, or when nobody listens any more."""
    with file:
        while chunk := await asyncio.to_thread(file.read, _CHUNK_BYTES):
            yield chunk


async def json_lines(gateway: Gateway, wanted: PairFilter) -> AsyncIterator[bytes]:
    """The rows as JSON, one a line; an image's bytes are base64."""
    async for batch in _batches(gateway, wanted):
        yield b"".join(_line(one) for one in batch)


async def _batches(gateway: Gateway, wanted: PairFilter) -> AsyncIterator[list[dict[str, Any]]]:
    async for found in gateway.store.scan(wanted, _BATCH):
        images = await asyncio.gather(*(image_of(gateway, pair) for pair in found))
        yield [row(pair, png) for pair, png in zip(found, images, strict=True)]


def _line(cells: dict[str, Any]) -> bytes:
    images = [image | {"bytes": base64.b64encode(image["bytes"]).decode()} for image in cells["images"]]
    return json.dumps(cells | {"images": images}, ensure_ascii=False).encode() + b"\n"


def _answer_cells(prefix: str, answer: Answer) -> dict[str, Any]:
    return {f"{prefix}.{name}": value for name, value in answer.model_dump(mode="json").items()}


def _messages(role: str, text: str | None) -> list[dict[str, str]] | None:
    return None if text is None else [{"role": role, "content": text}]


async def begun(lines: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """`lines` with its first already made: what fails at once fails before an answer begins."""
    first = await anext(lines, None)

    async def again() -> AsyncIterator[bytes]:
        if first is not None:
            yield first
        async for line in lines:
            yield line

    return again()
