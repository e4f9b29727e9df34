"""The first world: 24 coloured shapes (4 colours x 6 shapes) on grey, drawn by their outlines.

Low contrast and pixel noise keep perception imperfect. The weights in `demo/weights` have learnt exactly these
pictures: whatever changes a scene of this world makes them wrong.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from demo.worlds.world import CELL_AXIS, Plane, SceneObject, World, names_of, overlapping_themes

RADIUS_PX = (3.5, 6.5)
JITTER_PX = 1.5
CONTRAST = (0.3, 1.0)
COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (230, 40, 40),
    "green": (40, 200, 60),
    "blue": (50, 80, 240),
    "yellow": (240, 220, 40),
}


def _triangle(x: Plane, y: Plane, r: float) -> Plane:
    distance: Plane = np.maximum(y - 0.7 * r, (1.7 * np.abs(x) - 0.95 * (y + r)) / 1.95)
    return distance


def _cross(x: Plane, y: Plane, r: float) -> Plane:
    upright = np.maximum(np.abs(x) - 0.35 * r, np.abs(y) - r)
    lying = np.maximum(np.abs(x) - r, np.abs(y) - 0.35 * r)
    distance: Plane = np.minimum(upright, lying)
    return distance


# Signed distance in pixels to the outline, negative inside, of a shape of radius r around the origin.
_OUTLINES: dict[str, Callable[[Plane, Plane, float], Plane]] = {
    "disc": lambda x, y, r: np.hypot(x, y) - r,
    "square": lambda x, y, r: np.maximum(np.abs(x), np.abs(y)) - 0.85 * r,
    "triangle": _triangle,
    "ring": lambda x, y, r: np.abs(np.hypot(x, y) - 0.75 * r) - 0.25 * r,
    "cross": _cross,
    "diamond": lambda x, y, r: (np.abs(x) + np.abs(y) - 1.1 * r) / np.sqrt(2.0),
}
_Y, _X = np.meshgrid(CELL_AXIS, CELL_AXIS, indexing="ij")


def _draw(rng: np.random.Generator, name: str, cell: int, split: str) -> SceneObject:
    colour, shape = name.split()
    offset = (float(rng.uniform(-JITTER_PX, JITTER_PX)), float(rng.uniform(-JITTER_PX, JITTER_PX)))
    return SceneObject(colour, shape, cell, float(rng.uniform(*RADIUS_PX)), float(rng.uniform(*CONTRAST)), offset)


def _coverage(thing: SceneObject) -> Plane:
    dx, dy = thing.offset_px
    return np.clip(0.5 - _OUTLINES[thing.shape](_X - dx, _Y - dy, thing.radius_px), 0.0, 1.0)


SHAPES = World(
    name="shapes",
    about="24 simple objects",
    colours=COLOURS,
    shapes=tuple(_OUTLINES),
    # Neighbouring themes share two objects.
    themes=overlapping_themes(names_of(COLOURS, tuple(_OUTLINES)), count=6, size=6, step=4),
    background=(96.0, 160.0),
    noise_sigma=22.0,
    draw_object=_draw,
    coverage_of=_coverage,
    steps={"tower": 1200, "mllm": 650, "clip": 1000},
)
