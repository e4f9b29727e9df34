"""Images that nobody has seen before: a cache that knows one would flatter the system."""

from io import BytesIO
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
from PIL import Image, UnidentifiedImageError

from demo import scenes
from loadtests.pixels import Pixels, pixels_of
from loadtests.profiles import BadProfile

_SPLIT = "unlabelled"
_BLOCK = 8
"""Pixels; JPEG codes blocks of this side, so that a change of a whole one survives it."""
_BLOCKS = 6
_JPEG_QUALITY = 92


class Picture(NamedTuple):
    """An image file, and the pixels that a gateway reads from it; None for a JPEG, which decoders may read differently.
    They are all RGB, upright and without a profile, so that nothing is left to normalise."""

    file: bytes
    pixels: Pixels | None


class Pictures(Protocol):
    """An endless supply of images."""

    def next(self) -> Picture: ...


class Scenes:
    """Scenes of the demo world as PNG, 48 x 48 pixels, 7 KB; each `seed` (>= 0) has scenes of its own."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._index = 0

    def next(self) -> Picture:
        scene = scenes.draw_scene(_SPLIT, self._seed, self._index)
        self._index += 1
        return _encoded(Image.fromarray(scenes.pixels_of(scene)), "PNG")


class Folder:
    """The images below a folder, round and round, each time with a few blocks of pixels brightened or darkened.

    They are held in memory, decoded. Raises BadProfile where the folder has no image that Pillow reads.
    """

    def __init__(self, folder: Path, seed: int) -> None:
        self._images = [image for path in sorted(folder.rglob("*")) if path.is_file() for image in _opened(path)]
        if not self._images:
            raise BadProfile(f"There is no image in {folder}.")
        self._random = np.random.default_rng(seed)
        self._index = 0

    def next(self) -> Picture:
        image, format_name = self._images[self._index % len(self._images)]
        self._index += 1
        return _encoded(marked(image, self._random), format_name)


def marked(image: Image.Image, random: np.random.Generator) -> Image.Image:
    """The image with some blocks of pixels changed at random, by an amount that JPEG keeps."""
    pixels = np.array(image, dtype=np.int16)  # [height, width, 3]
    height, width, _ = pixels.shape
    for _ in range(_BLOCKS):
        top, left = (int(random.integers(max(1, side // _BLOCK))) * _BLOCK for side in (height, width))
        block = pixels[top : top + _BLOCK, left : left + _BLOCK]
        block += np.where(block > 127, -1, 1) * random.integers(8, 64, size=3)
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def _opened(path: Path) -> list[tuple[Image.Image, str]]:
    try:
        with Image.open(path) as image:
            return [(image.convert("RGB"), "JPEG" if image.format == "JPEG" else "PNG")]
    except (UnidentifiedImageError, OSError):
        return []  # other files may lie among the images


def _encoded(image: Image.Image, format_name: str) -> Picture:
    buffer = BytesIO()
    is_exact = format_name == "PNG"
    image.save(buffer, format_name, **({"compress_level": 1} if is_exact else {"quality": _JPEG_QUALITY}))
    return Picture(buffer.getvalue(), pixels_of(image) if is_exact else None)
