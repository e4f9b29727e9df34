"""The images of a round: new scenes of an embedded world, or a person's own."""

from collections.abc import Sequence
from pathlib import Path

from judgefree.demonstration import world_program
from judgefree.improvement.asked import MOST_ROUNDS, Asked
from judgefree.mistakes import Mistake
from judgefree.submission import find_images
from pairs.settings import DEMO

WORLDS = (DEMO, "digits")
_SEEDS = MOST_ROUNDS + 1
"""Rounds of one run that have scenes of their own; two runs of other seeds never share one."""


def anchored(asked: Asked, here: Path) -> Asked:
    """The same, with paths that lead to the same files from anywhere: a run may go on in another folder than `here`.

    Raises Mistake for a path under which there is nothing, before anything is made.
    """
    images = (
        asked.images
        if _is_of_a_world(asked.images)
        else tuple(str(here / Path(one).expanduser()) for one in asked.images)
    )
    if images is not asked.images:
        find_images(images)
    sets = {field: tuple(_data_set(one, here) for one in getattr(asked, field)) for field in ("promote_on", "test")}
    return asked.model_copy(update={"images": images, **sets})


def _data_set(name: str, here: Path) -> str:
    if name.partition(":")[0] in WORLDS and ":" in name:
        return name
    path = here / Path(name).expanduser()
    if not path.exists():
        raise Mistake(f"There is no data set {name}: it is no file, no folder and no demo:SPLIT.")
    return str(path)


def images_of(asked: Asked, number: int, cache: Path) -> list[Path]:
    """The images of round `number`, in order.

    Of WORLD:SPLIT, `count` scenes that no other round has. Of paths, the files in turns of `count`, beginning anew
    after the last. Raises Mistake for a path under which there is no image.
    """
    if _is_of_a_world(asked.images):
        world, _, split = asked.images[0].partition(":")
        return _scenes(world, split, asked.count, _SEEDS * asked.seed + number, cache)
    found = find_images(asked.images).images
    if not found:
        raise Mistake("There is no image among the given paths; JPEG, PNG, WebP and GIF are read.")
    start = (number - 1) * asked.count
    return [found[index % len(found)] for index in range(start, start + min(asked.count, len(found)))]


def _is_of_a_world(images: Sequence[str]) -> bool:
    world, _, split = images[0].partition(":")
    return len(images) == 1 and world in WORLDS and bool(split)


def _scenes(world: str, split: str, count: int, seed: int, cache: Path) -> list[Path]:
    folder = cache / f"{world}-{split}-{count}-{seed}"
    kind = ["--world", world] if world != DEMO else []
    if not (folder / ".whole").exists():
        where = ["--out", str(folder), "--count", str(count), "--seed", str(seed), "--split", split]
        world_program(["render", *where, *kind])
        (folder / ".whole").touch()
    return sorted(folder.glob("*.png"))
