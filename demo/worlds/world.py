"""What the worlds have in common: the grid that objects stand in, and what a world must say of itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

IMAGE_SIDE = 48
GRID_SIDE = 3
CELL_SIDE = IMAGE_SIDE // GRID_SIDE
PLACES = ("top left", "top", "top right", "left", "centre", "right", "bottom left", "bottom", "bottom right")

Plane = NDArray[np.float64]
CELL_AXIS: Plane = np.arange(CELL_SIDE, dtype=np.float64) - (CELL_SIDE - 1) / 2
"""Where the pixels of a cell stand along one side, from the cell's middle: [16]."""


@dataclass(frozen=True)
class SceneObject:
    """One object: its name's two words, its cell (0 to 8 in reading order) and how it is drawn there.

    `drawing` says which of a world's drawings of this object it is, where there are several: the number of a scan.
    """

    colour: str
    shape: str
    cell: int
    radius_px: float
    contrast: float
    offset_px: tuple[float, float]
    drawing: int = 0

    @property
    def name(self) -> str:
        return f"{self.colour} {self.shape}"

    @property
    def place(self) -> str:
        return PLACES[self.cell]


Stage = Literal["tower", "mllm", "clip"]
DrawObject = Callable[[np.random.Generator, str, int, str], SceneObject]
"""(random numbers, name, cell, split) -> the object as it stands in that cell of a scene of that split."""


@dataclass(frozen=True, eq=False, repr=False)
class World:
    """The objects that scenes may hold, the themes that they go together in, and how they look.

    An object is a colour and a shape. `about` names the objects for people; `coverage_of` gives the share of ink that
    an object puts on each pixel of its cell, [16, 16] in [0, 1]; `background` is the range of grey behind it; `steps`
    says how long each stage of the training takes until the models are as good as a world's card demands, and no
    better.
    """

    name: str
    about: str
    colours: Mapping[str, tuple[int, int, int]]
    shapes: tuple[str, ...]
    themes: tuple[tuple[str, ...], ...]
    background: tuple[float, float]
    noise_sigma: float
    draw_object: DrawObject
    coverage_of: Callable[[SceneObject], Plane]
    steps: Mapping[Stage, int]

    def __repr__(self) -> str:
        return f"World({self.name})"

    @cached_property
    def object_names(self) -> tuple[str, ...]:
        return names_of(self.colours, self.shapes)


def names_of(colours: Mapping[str, tuple[int, int, int]], shapes: tuple[str, ...]) -> tuple[str, ...]:
    """Every object of these colours and shapes, as "colour shape"."""
    return tuple(f"{colour} {shape}" for shape in shapes for colour in colours)


def overlapping_themes(names: tuple[str, ...], count: int, size: int, step: int) -> tuple[tuple[str, ...], ...]:
    """Themes of `size` objects, each beginning `step` objects after the one before in a mixed order of all names.

    The order mixes colours and shapes by a stride of 7, which must be coprime with the number of names.
    """
    shuffled = [names[7 * k % len(names)] for k in range(len(names))]
    return tuple(tuple(shuffled[(step * t + j) % len(names)] for j in range(size)) for t in range(count))
