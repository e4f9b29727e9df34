"""Images as pure functions of bytes: what is admitted, in which form it is kept, and how noise is mixed in."""

import io
import struct
import zlib
from dataclasses import dataclass
from typing import Final

import numpy as np
from PIL import Image, ImageFile

from pairs.errors import InvalidField, NotAnImage, TooLarge

FORMATS: Final = ("JPEG", "PNG", "WEBP", "GIF")
MEDIA_TYPE: Final = "image/png"
MAX_ASPECT: Final = 100
"""Longer over shorter side: image processors scale the shorter side up to the model's, so a thread of an image
would become gigapixels there."""

_DAMAGE = (OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError, OverflowError)
_BROKEN = (*_DAMAGE, struct.error, zlib.error)
_EXIF_ORIENTATION = 0x0112
_UPRIGHT: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True)
class NormalImage:
    """An upright RGB PNG: its bytes, and its sides in pixels."""

    content: bytes
    width: int
    height: int


def normalise(raw: bytes, max_pixels: int, max_side: int) -> NormalImage:
    """The first frame of a JPEG, PNG, WebP or GIF, upright, on white, in RGB, no side longer than `max_side`.

    Raises NotAnImage, TooLarge before anything is decoded, or InvalidField for one that is far longer than wide.
    """
    image = _opened(raw)
    width, height = image.size
    if width * height > max_pixels:
        raise TooLarge(f"the image has {width} x {height} pixels; at most {max_pixels} are accepted")
    if max(width, height) > MAX_ASPECT * min(width, height):
        raise InvalidField(f"image: {width} x {height} pixels; one side may be at most {MAX_ASPECT} times the other")
    try:
        image.draft(None, (max_side, max_side))  # lets a JPEG be decoded at a half, a quarter, ... of its size
        image.load()
        upright = _scaled(_on_white(image), max_side)
        if (turn := _UPRIGHT.get(_orientation(image))) is not None:
            upright = upright.transpose(turn)
    except _BROKEN as error:
        raise NotAnImage("the image is truncated or damaged") from error
    return _png(upright)


def mixed_with_noise(png: bytes, share: float, seed: int) -> bytes:
    """The PNG with each pixel `(1 - share) * pixel + share * noise`, noise ~ N(127.5, 64) per channel, by `seed`."""
    pixels = np.asarray(Image.open(io.BytesIO(png), formats=("PNG",)).convert("RGB"), dtype=np.float32)
    noise = np.random.default_rng(seed).standard_normal(pixels.shape, dtype=np.float32) * 64 + 127.5
    mixed = np.clip((1 - share) * pixels + share * noise, 0, 255).round().astype(np.uint8)
    return _png(Image.fromarray(mixed)).content


def _opened(raw: bytes) -> ImageFile.ImageFile:
    if not raw:
        raise NotAnImage("the image has 0 bytes")
    try:
        image = Image.open(io.BytesIO(raw), formats=FORMATS)
    except Image.DecompressionBombError as error:
        raise TooLarge("the image has too many pixels") from error
    except _BROKEN as error:
        raise NotAnImage("this is not a JPEG, PNG, WebP or GIF image that can be read") from error
    assert isinstance(image, ImageFile.ImageFile)
    return image


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation; 1 where there is none, or EXIF that cannot be read: the pixels still can."""
    try:
        return int(image.getexif().get(_EXIF_ORIENTATION, 1))
    except _BROKEN:
        return 1


def _on_white(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16 bits of grey: Pillow's own conversion clips them to white
        return Image.fromarray((np.asarray(image).astype(np.int64) >> 8).clip(0, 255).astype(np.uint8)).convert("RGB")
    if not image.has_transparency_data:
        return image.convert("RGB")
    layered = image.convert("RGBA")
    white = Image.new("RGB", layered.size, "white")
    white.paste(layered, mask=layered.getchannel("A"))
    return white


def _scaled(image: Image.Image, max_side: int) -> Image.Image:
    longer = max(image.size)
    if longer <= max_side:
        return image
    width, height = (max(1, round(side * max_side / longer)) for side in image.size)
    return image.resize((width, height), Image.Resampling.LANCZOS)


def _png(image: Image.Image) -> NormalImage:
    image.info = {}  # no profile and no comment travels on: equal pixels are equal bytes
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=1)
    return NormalImage(buffer.getvalue(), *image.size)
