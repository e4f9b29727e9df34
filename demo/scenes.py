"""Scenes with exact ground truth: what stands where in a picture, drawn from a seed, and its pixels.

A scene is 48 x 48 pixels in 3 x 3 cells and holds distinct objects of its world, one a cell. Objects belong to
overlapping *themes*: with probability `bias` an object comes from the scene's theme, else from all of the world's.
That gives a language prior something true to learn, and so something to hallucinate from.

Every scene is a pure function of (world, split, seed, index), so any slice of any split can be made again anywhere.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from demo.worlds import CELL_SIDE, GRID_SIDE, IMAGE_SIDE, SHAPES, SceneObject, World

Pixels = NDArray[np.uint8]


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
class Scene:
    """A scene's identity and its objects in reading order; `theme` is an index into the world's themes."""

    world: World
    split: str
    seed: int
    index: int
    theme: int
    background: float
    objects: tuple[SceneObject, ...]

    @property
    def names(self) -> frozenset[str]:
        return frozenset(thing.name for thing in self.objects)


def draw_scene(split: str, seed: int, index: int, world: World = SHAPES) -> Scene:
    """The scene at `index` (>= 0) of a split under a seed (>= 0). Raises KeyError for a split that does not exist."""
    rule = _SPLITS[split]
    rng = np.random.default_rng([seed, rule.number, index])
    theme = int(rng.integers(len(world.themes)))
    count = int(rng.integers(rule.fewest, rule.most + 1))
    names = _draw_names(rng, rule.bias, world.themes[theme], world.object_names, count)
    cells = rng.permutation(GRID_SIDE * GRID_SIDE)[:count]
    objects = [world.draw_object(rng, name, int(cell), split) for name, cell in zip(names, cells, strict=True)]
    background = float(rng.uniform(*world.background))
    return Scene(world, split, seed, index, theme, background, tuple(sorted(objects, key=lambda thing: thing.cell)))


def _draw_names(
    rng: np.random.Generator, bias: float, theme: tuple[str, ...], everything: tuple[str, ...], count: int
) -> list[str]:
    names: list[str] = []
    for _ in range(count):
        source = theme if rng.random() < bias else everything
        left = [name for name in source if name not in names] or [name for name in everything if name not in names]
        names.append(left[int(rng.integers(len(left)))])
    return names


def pixels_of(scene: Scene) -> Pixels:
    """The picture of a scene: [48, 48, 3] uint8, RGB. The noise belongs to the scene, so it is always the same."""
    canvas = np.full((IMAGE_SIDE, IMAGE_SIDE, 3), scene.background)
    for thing in scene.objects:
        coverage = scene.world.coverage_of(thing)[..., None] * thing.contrast
        row, column = divmod(thing.cell, GRID_SIDE)
        window = canvas[row * CELL_SIDE : (row + 1) * CELL_SIDE, column * CELL_SIDE : (column + 1) * CELL_SIDE]
        window += coverage * (np.array(scene.world.colours[thing.colour]) - window)
    noise = np.random.default_rng([scene.seed, _SPLITS[scene.split].number, scene.index, 1])
    canvas += scene.world.noise_sigma * noise.standard_normal(canvas.shape)
    picture: Pixels = np.clip(np.rint(canvas), 0, 255).astype(np.uint8)
    return picture


def draw_scenes(split: str, seed: int, indices: Iterable[int], world: World = SHAPES) -> list[Scene]:
    return [draw_scene(split, seed, index, world) for index in indices]


def write_scenes(folder: Path, split: str, seed: int, count: int, world: World = SHAPES) -> Iterator[dict[str, Any]]:
    """Write `scene-00000.png` ... and `scenes.jsonl` into a folder, one row an image; yields the rows as they are made.

    Beside them the form in which any data set may be: `images.jsonl`, each image with the names of its objects, and
    `objects.json`, every name of this world (with no other words for it). Raises OSError where the folder cannot be
    written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "objects.json").write_text(
        json.dumps({name: [] for name in world.object_names}, indent=1), encoding="utf-8"
    )
    with (
        (folder / "scenes.jsonl").open("w", encoding="utf-8") as rows,
        (folder / "images.jsonl").open("w", encoding="utf-8") as images,
    ):
        for scene in draw_scenes(split, seed, range(count), world):
            path = folder / f"scene-{scene.index:05d}.png"
            Image.fromarray(pixels_of(scene)).save(path)
            row = _row_of(scene, path)
            rows.write(json.dumps(row) + "\n")
            images.write(json.dumps({"image": path.name, "objects": sorted(scene.names)}) + "\n")
            yield row


def _row_of(scene: Scene, path: Path) -> dict[str, Any]:
    objects = [
        {"shape": thing.shape, "colour": thing.colour, "cell": thing.cell, "place": thing.place}
        for thing in scene.objects
    ]
    digest = sha256(path.read_bytes()).hexdigest()
    return {"file": path.name, "sha256": digest, "split": scene.split, "seed": scene.seed, "objects": objects}
