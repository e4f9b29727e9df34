"""Taking a backup: the three copies in their order, then a file that says that they are whole."""

import asyncio
import json
import os
import shutil
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

from judgefree.backup.images import copy_images
from judgefree.backup.queue import copy_queue
from judgefree.backup.store import copy_store
from judgefree.mistakes import Mistake
from pairs.clock import now
from pairs.settings import Settings

MARK = "backup.json"
_FILES = ("snapshots", "adapters")
"""Folders of the data folder that are copied as they are: what was trained on, and what came of it."""


@dataclass(frozen=True)
class Backup:
    """What a backup holds; None is what was left out. Everything accepted before `begun_at` (UTC) is in it."""

    judgefree: str
    begun_at: str
    ended_at: str
    queue_bytes: int
    store: str | None
    images: int | None


def take(settings: Settings, folder: Path, *, with_store: bool = True, with_images: bool = True) -> Backup:
    """Back everything up into the new or empty `folder`, laid out as a data folder, and return what it holds.

    Raises Mistake where the folder cannot take it, and what the three copies raise; without its mark a folder is none.
    """
    _make(folder)
    begun_at = now()
    queue_bytes = copy_queue(settings.redis_url, folder / "valkey")
    store = copy_store(settings.store_url, folder) if with_store else None
    images = asyncio.run(copy_images(settings.images_url, folder.resolve() / "images")) if with_images else None
    for name in _FILES if with_images else ():
        if (settings.data_dir / name).is_dir():
            shutil.copytree(settings.data_dir / name, folder / name)
    _sync(folder)
    backup = Backup(
        judgefree=version("judgefree"),
        begun_at=begun_at.isoformat(),
        ended_at=now().isoformat(),
        queue_bytes=queue_bytes,
        store=None if store is None else store.name,
        images=images,
    )
    (folder / MARK).write_text(json.dumps(asdict(backup), indent=2) + "\n", encoding="utf-8")
    return backup


def _sync(folder: Path) -> None:
    """Bring the files to the disk before the mark that speaks for them; images are there, each as it was copied."""
    for path in folder.rglob("*"):
        if path.is_file() and path.relative_to(folder).parts[0] != "images":
            with path.open("rb") as file:
                os.fsync(file.fileno())


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise Mistake(f"{folder} is not empty; every backup gets a folder of its own.")
    except OSError as error:
        raise Mistake(f"The folder {folder} cannot be written: {error.strerror}.") from error
