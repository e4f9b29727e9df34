"""What is looked at before any part starts, so that a mistake costs a sentence and not a minute."""

import errno
import fcntl
import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from judgefree.mistakes import Mistake

LEAST_FREE_BYTES = 256 * 2**20
"""Under this much free space nothing is started: the queue's file and the images would soon not be writable."""


@contextmanager
def hold_folder(folder: Path) -> Iterator[None]:
    """Make `folder` and keep every other launcher out of it. Raises Mistake when it is held or cannot be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / "up.lock").open("a+")
    except OSError as error:
        raise Mistake(f"The data folder {folder} cannot be written: {_why(error)}.") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            holder = lock.read().strip() or "unknown"
            raise Mistake(
                f"The data folder {folder} is in use by process {holder}; end it or choose another with --data-dir."
            ) from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


def require_space(folder: Path, least_bytes: int = LEAST_FREE_BYTES) -> None:
    """Raise Mistake when the disk under the existing `folder` has less than `least_bytes` free."""
    free = shutil.disk_usage(folder).free
    if free < least_bytes:
        raise Mistake(
            f"The disk of the data folder {folder} is full: {free // 2**20} MiB are free and "
            f"{least_bytes // 2**20} MiB are needed; make room or choose another with --data-dir."
        )


def require_port(host: str, port: int, setting: str) -> None:
    """Raise Mistake when nothing can listen on `port` of `host`; `setting` is the one that names the port."""
    flag = "--" + setting.replace("_", "-")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the servers do: TIME_WAIT is no user
            probe.bind(address)
            probe.listen(1)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            what = f"Port {port} of {host} (setting {setting}) is in use by another program; end it"
            raise Mistake(f"{what} or choose another with {flag}.") from error
        raise Mistake(f"Cannot listen on {host}:{port} (setting {setting}): {_why(error)}.") from error


def require_module(module: str, what: str, *extras: str) -> None:
    """Raise Mistake when `module` is not installed; asks without importing it. Any one of `extras` brings it."""
    if find_spec(module) is None:
        ways = " or ".join(f"'judgefree[{extra}]'" for extra in extras)
        raise Mistake(f"{what} is not installed: pip install {ways}.")


def has_gpu() -> bool:
    """Whether the system has a GPU that vLLM could use, whatever torch can see of it."""
    return any(Path("/dev").glob("nvidia[0-9]*")) or Path("/dev/kfd").exists()


def _why(error: OSError) -> str:
    return (error.strerror or str(error)).lower()
