"""Where images rest: content-addressed, written once, through fsspec (a local folder, S3, ...)."""

import asyncio
import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import fsspec
from fsspec.implementations.local import LocalFileSystem

from pairs.errors import SettingsError
from pairs.timing import Observe, timed, unobserved


class BlobsAway(OSError):
    """The image store does not answer as it should just now."""


class Blobs:
    """A content-addressed image store under `url`; every call is safe to repeat, and raises OSError when it is away."""

    def __init__(self, url: str, observe: Observe = unobserved) -> None:
        """Raises SettingsError when fsspec cannot make a file system of `url`."""
        try:
            self._files, self._root = fsspec.core.url_to_fs(url)
        except (ValueError, ImportError) as error:
            raise SettingsError(f"setting blob_url names no place for images: {error}") from error
        self._observe = observe

    async def put(self, content: bytes) -> str:
        """Store `content` so that it survives a crash, and return its SHA-256."""
        sha256 = hashlib.sha256(content).hexdigest()
        with timed(self._observe, "put"), _known_errors():
            await asyncio.to_thread(self._put, self._path(sha256), content)
        return sha256

    async def get(self, sha256: str) -> bytes:
        """The content stored under `sha256`; raises FileNotFoundError if there is none."""
        with timed(self._observe, "get"), _known_errors():
            return await asyncio.to_thread(self._get, sha256)

    def _get(self, sha256: str) -> bytes:
        content: bytes = self._files.cat_file(self._path(sha256))
        return content

    def _path(self, sha256: str) -> str:
        return f"{self._root}/{sha256[:2]}/{sha256}"

    def _put(self, path: str, content: bytes) -> None:
        if isinstance(self._files, LocalFileSystem):
            _write_durably(Path(path), content)
        elif not self._files.exists(path):
            self._files.pipe_file(path, content)


@contextmanager
def _known_errors() -> Iterator[None]:
    """Each remote file system has its own errors for being away."""
    try:
        yield
    except OSError:
        raise
    except Exception as error:
        raise BlobsAway(repr(error)) from error


def _write_durably(path: Path, content: bytes) -> None:
    """Write whole or not at all: a temporary file, synced, then renamed into place, and the folder synced."""
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).rename(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
