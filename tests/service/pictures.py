"""Image files, good and bad, as bytes."""

import io
import struct
import zlib
from typing import Any

from PIL import Image


def picture(form: str = "PNG", size: tuple[int, int] = (48, 32), mode: str = "RGB", **options: Any) -> bytes:
    """A file of a smooth picture."""
    gradient = Image.linear_gradient("L").resize(size)
    image = Image.merge("RGB", (gradient, gradient.transpose(Image.Transpose.FLIP_TOP_BOTTOM), gradient)).convert(mode)
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def animation(frames: int, size: tuple[int, int]) -> bytes:
    """A GIF that is small as a file and huge as frames: a black one, and others that are all the same."""
    buffer = io.BytesIO()
    Image.new("L", size, 0).save(buffer, "GIF", save_all=True, append_images=[Image.new("L", size, 255)])
    written = buffer.getvalue()
    last = written.rindex(b"\x21\xf9\x04")  # where the second frame begins; one byte is left after it
    return written[:last] + written[last:-1] * (frames - 1) + written[-1:]


def png_that_claims(width: int, height: int) -> bytes:
    """A PNG of a few bytes whose header claims `width` x `height` pixels."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = zlib.compress(b"\0" * 1000)
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(*one) for one in ((b"IHDR", header), (b"IDAT", body), (b"IEND", b"")))


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
