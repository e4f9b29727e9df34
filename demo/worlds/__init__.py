"""The worlds that scenes are made in. A world says what may stand in a scene, what goes with what, and how it looks.

Promises: the drawing of an object is a pure function of its world's random draws; no two worlds have a word for an
object in common but for colours, so that what a text mentions can be read without knowing which world it is about.
"""

from demo.worlds.digits import DIGITS
from demo.worlds.shapes import SHAPES
from demo.worlds.world import CELL_SIDE, GRID_SIDE, IMAGE_SIDE, PLACES, SceneObject, World

WORLDS = {world.name: world for world in (SHAPES, DIGITS)}

__all__ = [
    "CELL_SIDE",
    "DIGITS",
    "GRID_SIDE",
    "IMAGE_SIDE",
    "PLACES",
    "SHAPES",
    "WORLDS",
    "SceneObject",
    "World",
]
