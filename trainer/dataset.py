"""A snapshot as the data sets that TRL's vision DPO reads: texts mapped from disk, each image fetched when it is its
turn. Memory does not grow with the snapshot."""

import asyncio
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datasets import Dataset
from PIL import Image

from pairs.blobs import Blobs
from pairs.errors import JudgefreeError
from trainer.snapshot import Snapshot, Snapshots


class MissingImage(JudgefreeError):
    type, title = "missing-image", "An image of the snapshot is not in the image store"


@dataclass(frozen=True)
class Split:
    """The rows to train on, and the rows of the held-out images."""

    train: Dataset
    held_out: Dataset


def split(snapshots: Snapshots, snapshot: Snapshot, cache: Path) -> Split:
    """The snapshot's data sets; `cache` is a folder for their memory-mapped form, which may be shared and deleted.

    Raises DamagedSnapshot; reading a row raises MissingImage.
    """
    rows = Dataset.from_parquet(str(snapshots.file(snapshot, cache)), cache_dir=str(cache))
    sides = rows["held_out"]
    conversations = Conversations(snapshots.images_url)
    train, held_out = (
        rows.select([index for index, side in enumerate(sides) if side is wanted]).with_transform(conversations)
        for wanted in (False, True)
    )
    return Split(train, held_out)


class Conversations:
    """Rows of a snapshot in TRL 1.16's form: `images`, and `prompt`, `chosen`, `rejected` as messages; `margin`.

    Called with columns, as `datasets` does with a transform; may be sent to another process.
    """

    def __init__(self, images_url: str) -> None:
        self._images_url = images_url
        self._blobs: Blobs | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {"_images_url": self._images_url, "_blobs": None}

    def __call__(self, columns: dict[str, list[Any]]) -> dict[str, list[Any]]:
        if self._blobs is None:
            self._blobs = Blobs(self._images_url)
        images = asyncio.run(_fetch(self._blobs, columns["image_sha256"]))
        return {
            "id": columns["id"],
            "images": [[image] for image in images],
            "prompt": [_message("user", text) for text in columns["prompt"]],
            "chosen": [_message("assistant", text) for text in columns["chosen"]],
            "rejected": [_message("assistant", text) for text in columns["rejected"]],
            "margin": columns["margin"],
        }


async def _fetch(blobs: Blobs, names: list[str]) -> list[Image.Image]:
    try:
        contents = await asyncio.gather(*(blobs.get(sha256) for sha256 in names))
    except FileNotFoundError as error:
        raise MissingImage("An image of the snapshot is gone from the image store; restore it, or pin anew.") from error
    return [Image.open(io.BytesIO(content)).convert("RGB") for content in contents]


def _message(role: str, content: str) -> list[dict[str, str]]:
    return [{"role": role, "content": content}]
