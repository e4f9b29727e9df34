"""The images of a round: new scenes of an embedded world, or a person's own."""

from pathlib import Path

from judgefree.demonstration import world_program
from judgefree.improvement.asked import Asked
from judgefree.mistakes import Mistake
from judgefree.submission import find_images
from pairs.settings import DEMO

WORLDS = (DEMO, "digits")
_SEEDS = 100
"""Rounds of one run that have scenes of their own; two runs of other seeds never share one."""


def images_of(asked: Asked, number: int, cache: Path) -> list[Path]:
    """The images of round `number`, in order.

    Of WORLD:SPLIT, `count` scenes that no other round has. Of paths, the files in turns of `count`, beginning anew
    after the last. Raises Mistake for a path under which there is no image.
    """
    world, _, split = asked.images[0].partition(":")
    if len(asked.images) == 1 and world in WORLDS and split:
        return _scenes(world, split, asked.count, _SEEDS * asked.seed + number, cache)
    found = find_images(asked.images).images
    if not found:
        raise Mistake("There is no image among the given paths; JPEG, PNG, WebP and GIF are read.")
    start = (number - 1) * asked.count
    return [found[index % len(found)] for index in range(start, start + min(asked.count, len(found)))]


def _scenes(world: str, split: str, count: int, seed: int, cache: Path) -> list[Path]:
    folder = cache / f"{world}-{split}-{count}-{seed}"
    kind = ["--world", world] if world != DEMO else []
    if not (folder / ".whole").exists():
        where = ["--out", str(folder), "--count", str(count), "--seed", str(seed), "--split", split]
        world_program(["render", *where, *kind])
        (folder / ".whole").touch()
    return sorted(folder.glob("*.png"))
