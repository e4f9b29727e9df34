"""Scenes of an embedded world as a data set: rendered by its own process, then read as any other list."""

import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from trainer.evaluation.dataset import DataSet
from trainer.evaluation.errors import UnreadableDataSet
from trainer.evaluation.listing import read_listing

COUNT, SEED = 200, 40_000
"""How many scenes where the name says none, and the seed that draws them then."""
LISTING = "images.jsonl"

_NAME = re.compile(r"(?P<world>demo|digits):(?P<split>\w+)(?::(?P<count>[1-9]\d*)(?::(?P<seed>\d+))?)?")


@dataclass(frozen=True)
class Rendering:
    """Which scenes: the first `count` of a split of a world under a seed."""

    world: str
    split: str
    count: int
    seed: int

    @classmethod
    def of(cls, name: str) -> "Rendering | None":
        """What WORLD:SPLIT[:COUNT[:SEED]] asks for; None for any other name."""
        if (found := _NAME.fullmatch(name)) is None:
            return None
        return cls(found["world"], found["split"], int(found["count"] or COUNT), int(found["seed"] or SEED))

    @property
    def folder(self) -> str:
        return f"{self.world}-{self.split}-{self.count}-{self.seed}"


def render(wanted: Rendering, cache: Path, name: str) -> DataSet:
    """The scenes as a data set, rendered into a folder of their own in `cache` unless they are there already.

    Raises UnreadableDataSet with the world's last words where it does not render them.
    """
    folder = cache / wanted.folder
    finished = folder / ".finished"  # rendering that was broken off is done again
    if not finished.exists():
        _run(wanted, folder)
        finished.touch()
    return read_listing(folder / LISTING, name)


def _run(wanted: Rendering, folder: Path) -> None:
    flags = ["--out", str(folder), "--count", str(wanted.count), "--seed", str(wanted.seed), "--split", wanted.split]
    world = {"demo": [], "digits": ["--world", "digits"]}[wanted.world]
    command = [sys.executable, "-m", "demo", "render", *world, *flags]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    if run.returncode != 0:
        lines = [line.strip() for line in run.stderr.splitlines() if line.strip()]
        boxed = [line.strip("│ ") for line in lines if line.startswith("│")]  # typer draws a box around its complaint
        said = " ".join(boxed) or (lines[-1] if lines else "it said nothing")
        raise UnreadableDataSet(f"{wanted.world}:{wanted.split} cannot be rendered: {said}")
