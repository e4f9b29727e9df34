"""Whether a stored image is the one that was sent, by its pixels: the hash that a gateway tells is its own word."""

import math
from collections.abc import Mapping
from hashlib import sha256
from typing import TypedDict

from PIL import Image

SMALL = 256 * 256
"""Pixels; of images no larger than this all are compared."""
MOST_LARGE = 200
"""Of larger ones so many at most, evenly spread over the run."""


class Pixels(TypedDict):
    """An RGB image, to be told from others."""

    width: int
    height: int
    sha256: str


def pixels_of(image: Image.Image) -> Pixels:
    """Of an image whose mode is RGB."""
    return Pixels(width=image.width, height=image.height, sha256=sha256(image.tobytes()).hexdigest())


def to_compare(sent: Mapping[str, Pixels | None]) -> list[str]:
    """Which pairs' images are worth fetching: those that are kept as they were sent (not None), within bounds."""
    known = {pair_id: pixels["width"] * pixels["height"] for pair_id, pixels in sent.items() if pixels is not None}
    large = [pair_id for pair_id, count in known.items() if count > SMALL]
    step = max(1, math.ceil(len(large) / MOST_LARGE))
    return [pair_id for pair_id, count in known.items() if count <= SMALL] + large[::step]


def is_same(sent: Pixels, stored: Pixels) -> bool | None:
    """Whether they are one image; None where the stored one may be the sent one scaled down (`max_image_side`).

    Of two that changed places one at least is found, unless both were scaled down to the same sides.
    """
    if sent == stored:
        return True
    longer, side = max(sent["width"], sent["height"]), max(stored["width"], stored["height"])
    scaled = tuple(max(1, round(one * side / longer)) for one in (sent["width"], sent["height"]))
    return None if side < longer and scaled == (stored["width"], stored["height"]) else False
