"""Training by `accelerate launch` with the shipped configurations, as it is done on several GPUs: here on two CPUs."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from pairs.settings import Settings
from tests.trainer.conftest import Filled

ROOT = Path(__file__).parents[2]
CONFIGURATIONS = Path(str(files("trainer"))) / "accelerate"
FLAGS = ["--steps=3", "--batch-size=2", "--log-every=1", "--save-every=2", "--held-out=0.2", "--lora-rank=4"]


@dataclass
class Trained:
    """`metrics` are those of each step."""

    weights: dict[str, torch.Tensor]
    metrics: list[dict[str, float]]


def launched(configuration: str, module: str, settings: Settings) -> Trained:
    """What two processes train under a shipped configuration."""
    launcher = ["-m", "accelerate.commands.launch", "--config_file", str(CONFIGURATIONS / f"{configuration}.yaml")]
    processes = ["--num_processes", "2", "--main_process_port", "0"]
    command = ["-m", module, "train", "--name", configuration, *FLAGS]
    done = subprocess.run(
        [sys.executable, *launcher, *processes, *command],
        cwd=ROOT,
        env={
            **os.environ,
            "JUDGEFREE_DATA_DIR": str(settings.data_dir),
            "JUDGEFREE_DATABASE_URL": settings.store_url,
            "OMP_NUM_THREADS": "1",
            "TOKENIZERS_PARALLELISM": "false",
        },
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    folder = settings.data_dir / "adapters" / configuration
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return Trained(load_file(folder / "adapter_model.safetensors"), [line for line in lines if "loss" in line])


def test_sharded_training_is_the_training_that_ddp_does(settings: Settings, filled: Filled) -> None:
    together = launched("ddp", "trainer", settings)
    sharded = launched("fsdp", "tests.trainer.sharded_on_a_cpu", settings)
    assert together.weights.keys() == sharded.weights.keys()
    # A step takes two pairs in each of two processes, of some thirteen.
    assert together.metrics[0]["epoch"] == pytest.approx(sharded.metrics[0]["epoch"]) == pytest.approx(0.25)
    for one, other in zip(together.metrics, sharded.metrics, strict=True):
        for name in ("loss", "grad_norm", "logps/chosen", "logps/rejected"):
            assert one[name] == pytest.approx(other[name], rel=1e-3)
    # AdamW divides by a gradient's size: float noise in one that is nearly nothing is a whole step of its weight.
    apart = sum(float(((together.weights[name] - weight) ** 2).sum()) for name, weight in sharded.weights.items())
    assert apart < 1e-4 * sum(float((weight**2).sum()) for weight in together.weights.values())
