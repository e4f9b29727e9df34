"""The queue's part of a backup: one moment of the whole Redis server, as a folder that Valkey starts from."""

import socket
from pathlib import Path
from typing import Any

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from pairs.errors import QueueUnavailable

_SILENCE_S = 120.0
"""While the server writes its snapshot it sends a blank line every few seconds."""
_PIECE = 2**20
_LONGEST_HEAD = 1024
_APPEND_ONLY, _BASE = "appendonlydir", "appendonly.aof.1.base.rdb"
_MANIFEST = f"file {_BASE} seq 1 type b\n"
"""A server with `appendonly yes` reads what this names, and never a lone dump.rdb: beside one it starts empty."""


def copy_queue(redis_url: str, folder: Path) -> int:
    """Write a snapshot of the server behind `redis_url` below `folder`, and return its size in bytes.

    The server forks and sends what it held at that moment, as it does for a replica (`SYNC`; its user needs the right
    to it); it goes on serving. Raises QueueUnavailable when it cannot be reached, refuses, or breaks off.
    """
    place = folder / _APPEND_ONLY
    place.mkdir(parents=True)
    redis = Redis.from_url(redis_url, socket_connect_timeout=5, socket_timeout=_SILENCE_S, retry=Retry(NoBackoff(), 0))
    try:
        connection: Any = redis.connection_pool.get_connection()
        connection.send_command("SYNC")
        # What follows is no reply that a parser knows: a length, then so many bytes, then the stream of a replica.
        size = _receive(connection._sock, place / _BASE)
        connection.disconnect()
    except (RedisError, OSError) as error:
        raise QueueUnavailable("The queue cannot be copied: its server is away, refuses, or broke off.") from error
    finally:
        redis.close()
    (place / "appendonly.aof.manifest").write_text(_MANIFEST, encoding="ascii")
    return size


def _receive(sock: socket.socket, file: Path) -> int:
    size, begun = _head(sock)
    left = size - len(begun)
    with file.open("wb") as written:
        written.write(begun)
        while left > 0:
            piece = _some(sock, min(left, _PIECE))
            written.write(piece)
            left -= len(piece)
    return size


def _head(sock: socket.socket) -> tuple[int, bytes]:
    """The snapshot's announced size in bytes, and what of it came with the announcement."""
    received = b""
    while b"\r\n" not in received:
        received = (received + _some(sock, _LONGEST_HEAD)).lstrip(b"\n")
    line, _, rest = received.partition(b"\r\n")
    if not line.startswith(b"$") or not line[1:].isdigit():
        raise ConnectionError(f"the server does not send its data: {line[:200]!r}")
    size = int(line[1:])
    return size, rest[:size]


def _some(sock: socket.socket, most: int) -> bytes:
    piece = sock.recv(most)
    if not piece:
        raise ConnectionError("the server broke off")
    return piece
