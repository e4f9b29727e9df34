"""Whether a file can be the image that the gateway keeps of a pair: upright, scaled down at most, an RGB PNG."""

import hashlib
import io
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from pairs.model import ImageRef
from trainer.evaluation.errors import UnreadableDataSet

_EXIF_ORIENTATION = 0x0112


def opened(content: bytes, name: str) -> Image.Image:
    """Raises UnreadableDataSet where this is no image."""
    try:
        image = Image.open(io.BytesIO(content))
        image.load()
    except (UnidentifiedImageError, OSError, ValueError) as error:
        raise UnreadableDataSet(f"Image {name} is none that can be read.") from error
    return image


def read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise UnreadableDataSet(f"Image {file} cannot be read: {error.strerror}.") from error


def can_be_kept_as(file: Path, kept: ImageRef) -> bool:
    """By size and, where the gateway does no more than to encode the pixels as PNG, by the hash of that.

    Raises UnreadableDataSet where the file cannot be read.
    """
    image = opened(read(file), str(file))
    if image.size != (kept.width, kept.height) or not _is_plain(image):
        return _is_scaled(image.size, (kept.width, kept.height))
    return hashlib.sha256(_png(image.convert("RGB"))).hexdigest() == kept.sha256


def _is_plain(image: Image.Image) -> bool:
    """Whether it is upright, opaque and of 8 bits, so that no more is done to its pixels."""
    is_upright = image.getexif().get(_EXIF_ORIENTATION, 1) == 1
    return is_upright and not image.has_transparency_data and not image.mode.startswith("I")


def _is_scaled(size: tuple[int, int], kept: tuple[int, int]) -> bool:
    """Whether an image of `size` comes to `kept` by being turned, scaled down, or neither."""
    longer, side = max(size), max(kept)
    scaled = tuple(max(1, round(one * side / longer)) for one in size)
    return side <= longer and kept in (scaled, scaled[::-1])


def _png(image: Image.Image) -> bytes:
    """As the gateway writes it (service/images.py)."""
    image.info = {}
    written = io.BytesIO()
    image.save(written, "PNG", compress_level=1)
    return written.getvalue()
