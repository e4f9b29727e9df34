"""What a training run is of, and whether it may begin: known before torch is loaded, so a mistake is told at once."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pairs.errors import JudgefreeError
from trainer.recipe import Recipe
from trainer.snapshot import Snapshot

FACTS = "training.json"
UNFINISHED = ".unfinished"
"""The folder of what is in work, beside the adapters."""
_NOT_OF_THE_RESULT = {
    "out",
    "name",
    "snapshot",
    "pairs",
    "arrange",
    "workers",
    "save_every",
    "log_every",
    "tensorboard",
}


class SnapshotTooSmall(JudgefreeError):
    type, title = "snapshot-too-small", "Too few pairs to train on"


class AnotherTraining(JudgefreeError):
    type, title = "another-training", "The name is taken"


@dataclass(frozen=True)
class Run:
    """What a training is of: a run that was interrupted goes on only as the same run."""

    name: str
    base: str
    parent: Path | None
    snapshot: Snapshot
    recipe: Recipe

    def identity(self) -> dict[str, Any]:
        settings = self.recipe.model_dump(mode="json", exclude=_NOT_OF_THE_RESULT)
        return settings | {"base": self.base, "parent": str(self.parent or ""), "snapshot": self.snapshot.sha256}

    def require_beginning(self, adapters: Path) -> None:
        """Raises SnapshotTooSmall, and AnotherTraining where its name in `adapters` is another run's."""
        if self.snapshot.trained_on < self.recipe.least:
            raise SnapshotTooSmall(
                f"Snapshot {self.snapshot.name} has {self.snapshot.trained_on} pairs to train on; at least "
                f"{self.recipe.least} are wanted (--least)."
            )
        for folder in (adapters / self.name, adapters / UNFINISHED / self.name):
            kept = folder / FACTS
            if kept.exists() and json.loads(kept.read_text(encoding="utf-8"))["run"] != self.identity():
                raise AnotherTraining(f"There is another training in {folder}; choose another --name or remove it.")
