"""Training can be killed at any moment: the same command goes on to the very same weights."""

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from demo.models.training import ForeignCheckpointError, Recipe, learning_rate
from demo.train import train_clip, train_mllm
from demo.worlds import DIGITS, SHAPES, WORLDS

WEIGHTS = {"mllm": Path("mllm/model.safetensors"), "clip": Path("clip/open_clip_model.safetensors")}
TRAIN: dict[str, Callable[..., None]] = {"mllm": train_mllm, "clip": train_clip}


def _kill_once_it_stands(process: subprocess.Popen[bytes], checkpoint: Path) -> None:
    deadline = time.monotonic() + 120
    while not checkpoint.exists():
        assert process.poll() is None, "training ended before its first checkpoint"
        assert time.monotonic() < deadline, "no checkpoint in 120 s"
        time.sleep(0.01)
    process.kill()
    process.wait()


@pytest.mark.parametrize(("stage", "world"), [("mllm", "shapes"), ("clip", "digits")])
def test_a_killed_training_goes_on_to_the_same_weights(stage: str, world: str, tmp_path: Path) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    said: list[str] = []
    TRAIN[stage](whole, WORLDS[world], 0, fast=True, say=said.append)
    assert f"{stage}: step 2 of 12" in "\n".join(said)

    options = ["--fast", "--stage", stage, "--world", world, "--out", str(broken)]
    with subprocess.Popen([sys.executable, "-m", "demo", "train", *options], stdout=subprocess.DEVNULL) as process:
        _kill_once_it_stands(process, broken / "checkpoints" / f"{stage}.pt")
    assert not (broken / WEIGHTS[stage]).exists()
    said.clear()
    TRAIN[stage](broken, WORLDS[world], 0, fast=True, say=said.append)

    assert f"{stage}: step 2 of 12" not in "\n".join(said)
    assert f"{stage}: step 12 of 12" in "\n".join(said)
    assert (broken / WEIGHTS[stage]).read_bytes() == (whole / WEIGHTS[stage]).read_bytes()


def test_a_finished_stage_is_skipped_and_another_seed_or_world_is_refused(tmp_path: Path) -> None:
    said: list[str] = []
    train_clip(tmp_path, SHAPES, 0, fast=True, say=said.append)
    assert said
    said.clear()

    train_clip(tmp_path, SHAPES, 0, fast=True, say=said.append)

    assert said == []
    for world, seed in ((SHAPES, 1), (DIGITS, 0)):
        with pytest.raises(ForeignCheckpointError, match="another training recipe"):
            train_clip(tmp_path, world, seed, fast=True, say=said.append)


def test_the_learning_rate_warms_up_to_its_peak_and_falls_to_nothing() -> None:
    recipe = Recipe("tower", "shapes", seed=0, steps=100, batch_size=1, peak_lr=1e-3)
    rates = [learning_rate(recipe, step) for step in range(100)]

    assert rates[0] == pytest.approx(1e-4)
    assert max(rates) == rates[9] == rates[10] == pytest.approx(1e-3)
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[-1] < 1e-6
