"""Training by `accelerate launch` with the shipped configurations, as it is done on several GPUs: here on two CPUs."""

import json
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
from trainer.__main__ import main

ROOT = Path(__file__).parents[2]
CONFIGURATIONS = Path(str(files("trainer"))) / "accelerate"
FLAGS = ["--steps=3", "--batch-size=2", "--log-every=1", "--save-every=2", "--held-out=0.2", "--lora-rank=4"]


@dataclass
class Trained:
    """`metrics` are those of each step."""

    weights: dict[str, torch.Tensor]
    metrics: list[dict[str, float]]


@pytest.fixture
def adapters(settings: Settings, filled: Filled, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where adapters of the pairs in store go."""
    monkeypatch.setenv("JUDGEFREE_DATA_DIR", str(settings.data_dir))
    monkeypatch.setenv("JUDGEFREE_DATABASE_URL", settings.store_url)
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "false")
    return settings.data_dir / "adapters"


def launched(configuration: str, module: str, adapters: Path) -> Trained:
    """What two processes train under a shipped configuration."""
    launcher = ["-m", "accelerate.commands.launch", "--config_file", str(CONFIGURATIONS / f"{configuration}.yaml")]
    processes = ["--num_processes", "2", "--main_process_port", "0"]
    done = subprocess.run(
        [sys.executable, *launcher, *processes, "-m", module, "train", "--name", configuration, *FLAGS],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return trained(adapters / configuration)


def trained(folder: Path) -> Trained:
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return Trained(load_file(folder / "adapter_model.safetensors"), [line for line in lines if "loss" in line])


def assert_alike(one: Trained, other: Trained) -> None:
    for before, after in zip(one.metrics, other.metrics, strict=True):
        for name in ("loss", "grad_norm", "logps/chosen", "logps/rejected"):
            assert before[name] == pytest.approx(after[name], rel=1e-3)
    # AdamW divides by a gradient's size: float noise in one that is nearly nothing is a whole step of its weight.
    assert one.weights.keys() == other.weights.keys()
    apart = sum(float(((other.weights[name] - weight) ** 2).sum()) for name, weight in one.weights.items())
    assert apart < 1e-4 * sum(float((weight**2).sum()) for weight in one.weights.values())


def test_two_processes_train_what_one_does_with_twice_the_batches_sharded_or_not(adapters: Path) -> None:
    # Within the first pass over the pairs: the next one's order is drawn by each launcher in its own way.
    together = launched("ddp", "trainer", adapters)
    sharded = launched("fsdp", "tests.trainer.sharded_on_a_cpu", adapters)
    assert main(["train", "--name", "alone", "--accumulation=2", *FLAGS]) == 0
    # A step takes two pairs in each of two processes, of some thirteen.
    assert together.metrics[0]["epoch"] == pytest.approx(sharded.metrics[0]["epoch"]) == pytest.approx(0.25)
    assert_alike(together, sharded)
    assert_alike(together, trained(adapters / "alone"))
