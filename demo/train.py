"""Trains both models of a demo world, in stages that can be interrupted at any time and go on where they were.

The tower and then the language model train in this process; CLIP, which needs neither, trains in a process of its own
beside it. Each keeps to one thread: more of them on few cores only wait for each other.

Every stage raises ForeignCheckpointError where its folder holds another training, OSError where it cannot write.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from demo.evaluate import HEAD_FILE
from demo.models import clip, mllm, tower
from demo.models.tower import PatchReader
from demo.models.training import Progress
from demo.worlds import World

Say = Callable[[str], None]


class StageFailedError(RuntimeError):
    """CLIP's training process ended without its weights."""


def train_tower(out: Path, world: World, seed: int, *, fast: bool, say: Say) -> PatchReader:
    """Train the vision tower and write its patch head; a finished one is only read."""
    with _alone(out, "tower", say) as checkpoint:
        reader = tower.train_tower(tower.recipe(world, seed, fast=fast), checkpoint, _progress(say))
        tower.save_head(reader, out / HEAD_FILE)
        return reader


def train_mllm(out: Path, world: World, seed: int, *, fast: bool, say: Say) -> None:
    """Train the tower, then the language model around it, and write its folder."""
    reader = train_tower(out, world, seed, fast=fast, say=say)
    with _alone(out, "mllm", say) as checkpoint:
        plan = mllm.recipe(world, seed, fast=fast)
        mllm.save_mllm(mllm.train_mllm(reader, plan, checkpoint, _progress(say)), world, out / "mllm")


def train_clip(out: Path, world: World, seed: int, *, fast: bool, say: Say) -> None:
    """Train CLIP and write its folder."""
    with _alone(out, "clip", say) as checkpoint:
        plan = clip.recipe(world, seed, fast=fast)
        clip.save_clip(clip.train_clip(plan, checkpoint, _progress(say)), world, out / "clip")


def train_all(out: Path, world: World, seed: int, *, fast: bool, say: Say) -> None:
    """Train all stages, CLIP beside the others. Raises StageFailedError when CLIP's process fails."""
    of_clip = ["--stage", "clip", "--world", world.name, "--out", str(out), "--seed", str(seed)]
    command = [sys.executable, "-m", "demo", "train", *of_clip, *["--fast"] * fast]
    beside = subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"})
    try:
        train_mllm(out, world, seed, fast=fast, say=say)
        status = beside.wait()
    finally:
        if beside.poll() is None:
            beside.terminate()
            beside.wait()
    if status != 0:
        raise StageFailedError(f"the training of CLIP ended with status {status}; run the same command again to go on")


def _progress(say: Say) -> Progress:
    started = time.monotonic()
    first: list[tuple[int, float]] = []

    def progress(stage: str, done: int, steps: int, loss: float) -> None:
        spent = time.monotonic() - started
        first.append((done, spent))
        since, steps_since = spent - first[0][1], done - first[0][0]
        estimate = (
            f", about {(steps - done) * since / steps_since:.0f} s left" if steps_since > 0 and done < steps else ""
        )
        say(f"{stage}: step {done} of {steps}, loss {loss:.3f}, {spent:.0f} s{estimate}")

    return progress


@contextmanager
def _alone(out: Path, stage: str, say: Say) -> Iterator[Path]:
    """The stage's checkpoint file, for one process at a time: a second one waits until the first has ended."""
    torch.set_num_threads(1)
    folder = out / "checkpoints"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{stage}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"another process trains the {stage} in this folder; waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield folder / f"{stage}.pt"
