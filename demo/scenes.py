"""Scenes with exact ground truth: what stands where in a picture, drawn from a seed, and its pixels.

A scene is 48 x 48 pixels in 3 x 3 cells and holds distinct objects, one a cell, out of 24 (4 colours x 6 shapes).
Objects belong to overlapping *themes*: with probability `bias` an object comes from the scene's theme, else from all
24. That gives a language prior something true to learn, and so something to hallucinate from. Low contrast and pixel
noise keep perception imperfect.

Every scene is a pure function of (split, seed, index), so any slice of any split can be made again anywhere.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

IMAGE_SIDE = 48
GRID_SIDE = 3
CELL_SIDE = IMAGE_SIDE // GRID_SIDE
NOISE_SIGMA = 22.0
RADIUS_PX = (3.5, 6.5)
JITTER_PX = 1.5
CONTRAST = (0.3, 1.0)
BACKGROUND = (96.0, 160.0)

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (230, 40, 40),
    "green": (40, 200, 60),
    "blue": (50, 80, 240),
    "yellow": (240, 220, 40),
}
PLACES = ("top left", "top", "top right", "left", "centre", "right", "bottom left", "bottom", "bottom right")

Pixels = NDArray[np.uint8]
_Plane = NDArray[np.float64]


def _triangle(x: _Plane, y: _Plane, r: float) -> _Plane:
    distance: _Plane = np.maximum(y - 0.7 * r, (1.7 * np.abs(x) - 0.95 * (y + r)) / 1.95)
    return distance


def _cross(x: _Plane, y: _Plane, r: float) -> _Plane:
    upright = np.maximum(np.abs(x) - 0.35 * r, np.abs(y) - r)
    lying = np.maximum(np.abs(x) - r, np.abs(y) - 0.35 * r)
    distance: _Plane = np.minimum(upright, lying)
    return distance


# Signed distance in pixels to the outline, negative inside, of a shape of radius r around the origin.
_OUTLINES: dict[str, Callable[[_Plane, _Plane, float], _Plane]] = {
    "disc": lambda x, y, r: np.hypot(x, y) - r,
    "square": lambda x, y, r: np.maximum(np.abs(x), np.abs(y)) - 0.85 * r,
    "triangle": _triangle,
    "ring": lambda x, y, r: np.abs(np.hypot(x, y) - 0.75 * r) - 0.25 * r,
    "cross": _cross,
    "diamond": lambda x, y, r: (np.abs(x) + np.abs(y) - 1.1 * r) / np.sqrt(2.0),
}
SHAPES = tuple(_OUTLINES)
OBJECT_NAMES = tuple(f"{colour} {shape}" for shape in SHAPES for colour in COLOURS)
# Six themes of six objects; a stride coprime with 24 mixes colours and shapes, neighbouring themes share two objects.
_SHUFFLED = tuple(OBJECT_NAMES[7 * k % len(OBJECT_NAMES)] for k in range(len(OBJECT_NAMES)))
THEMES = tuple(tuple(_SHUFFLED[(4 * t + j) % len(_SHUFFLED)] for j in range(6)) for t in range(6))


@dataclass(frozen=True)
class Split:
    """How the scenes of a split are drawn: `number` keeps the random streams of two splits apart."""

    number: int
    bias: float
    fewest: int
    most: int


TEST_SPLITS = {
    "in_distribution": Split(number=0, bias=0.7, fewest=2, most=5),
    "theme_breaking": Split(number=1, bias=0.0, fewest=2, most=5),
    "dense": Split(number=2, bias=0.7, fewest=6, most=8),
}
# What the weights are trained on; never measured on. Perception is learnt without themes, wording with strong ones.
TRAINING_SPLITS = {
    "perception": Split(number=10, bias=0.0, fewest=1, most=8),
    "captions": Split(number=11, bias=0.95, fewest=2, most=7),
    "matching": Split(number=12, bias=0.3, fewest=1, most=8),
}
# The pool that pairs are made from where a model improves itself: nobody is told what stands in these.
POOL_SPLITS = {"unlabelled": Split(number=13, bias=0.3, fewest=2, most=5)}
_SPLITS = TEST_SPLITS | TRAINING_SPLITS | POOL_SPLITS


@dataclass(frozen=True)
class SceneObject:
    """One object: its name's two words, its cell (0 to 8 in reading order) and how it is drawn there."""

    colour: str
    shape: str
    cell: int
    radius_px: float
    contrast: float
    offset_px: tuple[float, float]

    @property
    def name(self) -> str:
        return f"{self.colour} {self.shape}"

    @property
    def place(self) -> str:
        return PLACES[self.cell]


@dataclass(frozen=True)
class Scene:
    """A scene's identity and its objects in reading order; `theme` is an index into THEMES."""

    split: str
    seed: int
    index: int
    theme: int
    background: float
    objects: tuple[SceneObject, ...]

    @property
    def names(self) -> frozenset[str]:
        return frozenset(thing.name for thing in self.objects)


def draw_scene(split: str, seed: int, index: int) -> Scene:
    """The scene at `index` (>= 0) of a split under a seed (>= 0). Raises KeyError for a split that does not exist."""
    rule = _SPLITS[split]
    rng = np.random.default_rng([seed, rule.number, index])
    theme = int(rng.integers(len(THEMES)))
    count = int(rng.integers(rule.fewest, rule.most + 1))
    names = _draw_names(rng, rule.bias, theme, count)
    cells = rng.permutation(GRID_SIDE * GRID_SIDE)[:count]
    objects = [_draw_object(rng, name, int(cell)) for name, cell in zip(names, cells, strict=True)]
    background = float(rng.uniform(*BACKGROUND))
    return Scene(split, seed, index, theme, background, tuple(sorted(objects, key=lambda thing: thing.cell)))


def _draw_names(rng: np.random.Generator, bias: float, theme: int, count: int) -> list[str]:
    names: list[str] = []
    for _ in range(count):
        source = THEMES[theme] if rng.random() < bias else OBJECT_NAMES
        left = [name for name in source if name not in names] or [name for name in OBJECT_NAMES if name not in names]
        names.append(left[int(rng.integers(len(left)))])
    return names


def _draw_object(rng: np.random.Generator, name: str, cell: int) -> SceneObject:
    colour, shape = name.split()
    offset = (float(rng.uniform(-JITTER_PX, JITTER_PX)), float(rng.uniform(-JITTER_PX, JITTER_PX)))
    return SceneObject(colour, shape, cell, float(rng.uniform(*RADIUS_PX)), float(rng.uniform(*CONTRAST)), offset)


_AXIS = np.arange(CELL_SIDE) - (CELL_SIDE - 1) / 2
_CELL_Y, _CELL_X = np.meshgrid(_AXIS, _AXIS, indexing="ij")


def pixels_of(scene: Scene) -> Pixels:
    """The picture of a scene: [48, 48, 3] uint8, RGB. The noise belongs to the scene, so it is always the same."""
    canvas = np.full((IMAGE_SIDE, IMAGE_SIDE, 3), scene.background)
    for thing in scene.objects:
        dx, dy = thing.offset_px
        distance = _OUTLINES[thing.shape](_CELL_X - dx, _CELL_Y - dy, thing.radius_px)
        coverage = np.clip(0.5 - distance, 0.0, 1.0)[..., None] * thing.contrast
        row, column = divmod(thing.cell, GRID_SIDE)
        window = canvas[row * CELL_SIDE : (row + 1) * CELL_SIDE, column * CELL_SIDE : (column + 1) * CELL_SIDE]
        window += coverage * (np.array(COLOURS[thing.colour]) - window)
    noise = np.random.default_rng([scene.seed, _SPLITS[scene.split].number, scene.index, 1])
    canvas += NOISE_SIGMA * noise.standard_normal(canvas.shape)
    picture: Pixels = np.clip(np.rint(canvas), 0, 255).astype(np.uint8)
    return picture


def draw_scenes(split: str, seed: int, indices: Iterable[int]) -> list[Scene]:
    return [draw_scene(split, seed, index) for index in indices]


def write_scenes(folder: Path, split: str, seed: int, count: int) -> Iterator[dict[str, Any]]:
    """Write `scene-00000.png` ... and `scenes.jsonl` into a folder, one row an image; yields the rows as they are made.

    Raises OSError where the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "scenes.jsonl").open("w", encoding="utf-8") as rows:
        for scene in draw_scenes(split, seed, range(count)):
            path = folder / f"scene-{scene.index:05d}.png"
            Image.fromarray(pixels_of(scene)).save(path)
            row = _row_of(scene, path)
            rows.write(json.dumps(row) + "\n")
            yield row


def _row_of(scene: Scene, path: Path) -> dict[str, Any]:
    objects = [
        {"shape": thing.shape, "colour": thing.colour, "cell": thing.cell, "place": thing.place}
        for thing in scene.objects
    ]
    digest = sha256(path.read_bytes()).hexdigest()
    return {"file": path.name, "sha256": digest, "split": scene.split, "seed": scene.seed, "objects": objects}
