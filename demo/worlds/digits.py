"""The second world, of real pixels: handwritten digits in coloured ink on paper, 30 objects (3 inks x 10 digits).

The digits are scikit-learn's bundled copy of the UCI data set "Optical Recognition of Handwritten Digits" (Alpaydin
and Kaynak, 1998; CC BY 4.0): 1,797 scans of 8 x 8 pixels, 17 shades. A scan belongs to one group of splits for good:
none that is measured, and none that pairs are made from, was seen in training.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from demo.worlds.world import CELL_AXIS, Plane, SceneObject, World, names_of, overlapping_themes

WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
INKS: dict[str, tuple[int, int, int]] = {"red": (205, 35, 35), "green": (20, 140, 50), "blue": (40, 60, 205)}
RADIUS_PX = (5.5, 7.5)
JITTER_PX = 1.0
CONTRAST = (0.3, 1.0)
SCAN_SIDE = 8
_INK_LEVELS = 16.0

_TENTHS = {"in_distribution": (6,), "theme_breaking": (7,), "dense": (8,), "unlabelled": (9,)}
_TRAINING_TENTHS = (0, 1, 2, 3, 4, 5)


@cache
def _bundled() -> tuple[Plane, tuple[int, ...]]:
    """All scans, [1797, 8, 8] in [0, 1], and which digit each shows."""
    from sklearn.datasets import load_digits  # here: it takes a second to import, and the first world needs none of it

    bundled = load_digits()
    return bundled.images / _INK_LEVELS, tuple(int(digit) for digit in bundled.target)


@cache
def scans_of(split: str, word: str) -> tuple[int, ...]:
    """The scans of a digit that a split may show, by number.

    The k-th scan of every digit goes by the last figure of k: six tenths are for training, one for each split that is
    measured and one for the unlabelled pool. (Not by the last figure of the scan's own number: the data set begins
    with the digits in turn.)
    """
    written = [number for number, digit in enumerate(_bundled()[1]) if digit == WORDS.index(word)]
    tenths = _TENTHS.get(split, _TRAINING_TENTHS)
    return tuple(number for k, number in enumerate(written) if k % 10 in tenths)


def _draw(rng: np.random.Generator, name: str, cell: int, split: str) -> SceneObject:
    colour, shape = name.split()
    scans = scans_of(split, shape)
    drawing = scans[int(rng.integers(len(scans)))]
    offset = (float(rng.uniform(-JITTER_PX, JITTER_PX)), float(rng.uniform(-JITTER_PX, JITTER_PX)))
    radius, contrast = float(rng.uniform(*RADIUS_PX)), float(rng.uniform(*CONTRAST))
    return SceneObject(colour, shape, cell, radius, contrast, offset, drawing)


def _coverage(thing: SceneObject) -> Plane:
    """The scan scaled to 2 x radius pixels, by linear interpolation between its own pixels."""
    columns, rows = (_tents(offset, thing.radius_px) for offset in thing.offset_px)
    coverage: Plane = rows @ _bundled()[0][thing.drawing] @ columns.T
    return coverage


def _tents(offset_px: float, radius_px: float) -> Plane:
    """How much each pixel of a scan's side counts at each pixel of the cell's: [16, 8], rows adding up to 1 inside."""
    positions = (CELL_AXIS - offset_px) * SCAN_SIDE / (2 * radius_px) + (SCAN_SIDE - 1) / 2
    return np.maximum(0.0, 1.0 - np.abs(positions[:, None] - np.arange(SCAN_SIDE)))


DIGITS = World(
    name="digits",
    about="ten handwritten digits in three inks",
    colours=INKS,
    shapes=WORDS,
    # Neighbouring themes share two objects.
    themes=overlapping_themes(names_of(INKS, WORDS), count=6, size=7, step=5),
    background=(180.0, 235.0),
    noise_sigma=26.0,
    draw_object=_draw,
    coverage_of=_coverage,
    steps={"tower": 1200, "mllm": 480, "clip": 1500},
)
