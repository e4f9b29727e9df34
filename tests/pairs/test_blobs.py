"""Images rest under their hash, on any file system that fsspec knows; one that is away is an OSError."""

import hashlib
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from pairs.blobs import Blobs, BlobsAway
from pairs.errors import SettingsError


class Away(MemoryFileSystem):  # type: ignore[misc]  # fsspec has no types
    """A remote file system whose client raises errors of its own, as botocore does."""

    protocol = "away"

    def exists(self, path: str, **options: Any) -> bool:
        raise LookupError("no endpoint")

    def cat_file(self, path: str, **options: Any) -> bytes:
        raise LookupError("no endpoint")


@pytest.mark.parametrize("place", ["folder", "memory"])
async def test_what_was_put_is_got_and_may_be_put_again(tmp_path: Path, place: str) -> None:
    blobs = Blobs(str(tmp_path / "images") if place == "folder" else "memory://images")
    assert await blobs.put(b"a picture") == await blobs.put(b"a picture") == hashlib.sha256(b"a picture").hexdigest()
    assert await blobs.get(hashlib.sha256(b"a picture").hexdigest()) == b"a picture"


@pytest.mark.parametrize("place", ["folder", "memory"])
async def test_what_is_not_there_is_said(tmp_path: Path, place: str) -> None:
    with pytest.raises(FileNotFoundError):
        await Blobs(str(tmp_path / "images") if place == "folder" else "memory://none").get("0" * 64)


async def test_a_file_system_with_errors_of_its_own_is_away() -> None:
    fsspec.register_implementation("away", Away, clobber=True)
    for call in (Blobs("away://images").put(b"x"), Blobs("away://images").get("0" * 64)):
        with pytest.raises(BlobsAway, match="no endpoint"):
            await call


def test_a_place_that_is_none_is_a_mistake_in_the_settings() -> None:
    with pytest.raises(SettingsError, match="blob_url"):
        Blobs("nowhere://images")
