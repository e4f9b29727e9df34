"""The bad client: what it sends, and how the gateway should take it."""

import socket
import ssl
import struct
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

import gevent
from urllib3 import encode_multipart_formdata

JSON, PLAIN = "application/json", "text/plain"
HUGE_BYTES = 2**40
HUGE_SIDE = 60_000
_TIMEOUT_S = 30.0


@dataclass(frozen=True)
class Misdeed:
    """A request that has to be refused with one of `expected`."""

    name: str
    body: bytes
    content_type: str
    expected: tuple[int, ...]


def misdeeds(image: bytes) -> list[Misdeed]:
    """Every malformed and oversized request, made from a good PNG `image`."""
    return [
        _form("no image", [("image", b"this is no image")], (415,)),
        _form("half an image", [("image", image[: len(image) // 2])], (415,)),
        _form("an image of too many pixels", [("image", bomb())], (413,)),
        _form("no file at all", [("prompt", "What is this?")], (422,)),
        _form("a ratio out of range", [("image", image), ("hallucination.ratio", "7")], (422,)),
        _form("an unknown field", [("image", image), ("halucination", "1")], (422,)),
        Misdeed("broken JSON", b'{"image": ', JSON, (400,)),
        Misdeed("JSON too deep", b"[" * 100_000, JSON, (400,)),
        Misdeed("plain text", b"hello", PLAIN, (415,)),
        Misdeed("a form that ends in the middle", b"--x\r\nContent-Disp", "multipart/form-data; boundary=x", (400,)),
    ]


def _form(name: str, parts: list[tuple[str, bytes | str]], expected: tuple[int, ...]) -> Misdeed:
    fields = [(key, ("file", value) if isinstance(value, bytes) else value) for key, value in parts]
    body, content_type = encode_multipart_formdata(fields)
    return Misdeed(name, body, content_type, expected)


def bomb() -> bytes:
    """A PNG of a few hundred bytes that says it is 60,000 pixels wide and high."""
    header = struct.pack(">IIBBBBB", HUGE_SIDE, HUGE_SIDE, 8, 2, 0, 0, 0)
    chunks = _chunk(b"IHDR", header) + _chunk(b"IDAT", zlib.compress(b"\0" * HUGE_SIDE)) + _chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def head(host: str, headers: dict[str, str]) -> bytes:
    """The start of a POST to /v1/pairs, to be sent by hand."""
    url = urlsplit(host)
    lines = [f"POST {url.path.rstrip('/')}/v1/pairs HTTP/1.1", f"Host: {url.netloc.rpartition('@')[2]}"]
    lines += [f"{name}: {value}" for name, value in ({"Connection": "close"} | headers).items()]
    return "\r\n".join([*lines, "", ""]).encode()


def send_by_hand(
    host: str, pieces: Iterable[bytes], pause_s: float, is_answer_wanted: bool = True
) -> tuple[int, bytes]:
    """Send pieces of a request (`Connection: close`) with pauses between them; status and body of the answer.

    Status 0 where none is wanted, or none came: to be thrown out in the middle is one way to be refused. Status -1
    where the other side was silent for too long, which is none.
    """
    url = urlsplit(host)
    is_secure = url.scheme == "https"
    with socket.create_connection((url.hostname or "", url.port or (443 if is_secure else 80)), _TIMEOUT_S) as plain:
        context = ssl.create_default_context() if is_secure else None
        wire = plain if context is None else context.wrap_socket(plain, server_hostname=url.hostname)
        try:
            for piece in pieces:
                wire.sendall(piece)
                gevent.sleep(pause_s)
            return _answer(wire) if is_answer_wanted else (0, b"")
        except TimeoutError:
            return -1, b""
        except OSError:
            return 0, b""


def _answer(wire: socket.socket) -> tuple[int, bytes]:
    received = b"".join(iter(lambda: wire.recv(2**16), b""))
    start, _, body = received.partition(b"\r\n\r\n")
    words = start.split(None, 2)
    return (int(words[1]) if len(words) > 1 and words[1].isdigit() else 0), body
