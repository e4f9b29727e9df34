"""Checkpoints that survive kill -9: one counts only when a mark, written last, says that it is whole."""

import os
import shutil
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

_MARK = "whole"


class Marks(TrainerCallback):  # type: ignore[misc]
    """Marks each checkpoint once all of its files are written and synced."""

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        if not state.is_world_process_zero:
            return
        folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        for path in [*folder.rglob("*"), folder]:
            _sync(path)
        (folder / _MARK).touch()
        _sync(folder)


def last_whole(folder: Path) -> Path | None:
    """The newest whole checkpoint in `folder`; what is only partly there is taken away."""
    whole = []
    for checkpoint in folder.glob("checkpoint-*"):
        if (checkpoint / _MARK).exists():
            whole.append(checkpoint)
        else:
            shutil.rmtree(checkpoint)
    return max(whole, key=lambda checkpoint: int(checkpoint.name.rpartition("-")[2]), default=None)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
