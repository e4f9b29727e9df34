"""The images' part of a backup: a copy of each, checked against its name on the way."""

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path

from fsspec.core import url_to_fs

from judgefree.mistakes import Mistake
from pairs.blobs import Blobs
from pairs.errors import StoreUnavailable

_SHA256 = re.compile(r"[0-9a-f]{64}")
_AT_A_TIME = 8


async def copy_images(url: str, folder: Path) -> int:
    """Copy every image of the store behind fsspec URL `url` below the absolute `folder`; returns how many there are.

    Raises Mistake for one that is not what its SHA-256 says, StoreUnavailable for one that cannot be read.
    """
    names = await asyncio.to_thread(_names, url)
    source, target, left = Blobs(url), Blobs(f"file://{folder}"), iter(names)
    await asyncio.gather(*(_copy(left, source, target) for _ in range(_AT_A_TIME)))
    return len(names)


async def _copy(names: Iterator[str], source: Blobs, target: Blobs) -> None:
    for name in names:
        try:
            content = await source.get(name)
        except OSError as error:
            raise StoreUnavailable(f"Image {name} cannot be read just now; try again shortly.") from error
        if await target.put(content) != name:
            raise Mistake(f"Image {name} is damaged in the image store; put it back from an earlier backup.")


def _names(url: str) -> list[str]:
    files, root = url_to_fs(url)
    found = (path.rpartition("/")[2] for path in files.find(root))
    return sorted(name for name in found if _SHA256.fullmatch(name))
