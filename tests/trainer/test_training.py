"""A training run as a person starts it: killed and resumed, loaded by PEFT, or refused in one sentence."""

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from pairs.settings import Settings, local_model
from pairs.torchvision_cpu import declare_missing_ops
from tests.trainer.conftest import Filled
from trainer.__main__ import main
from trainer.snapshot import Snapshots

ROOT = Path(__file__).parents[2]
QUICK = {"steps": 12, "batch_size": 2, "save_every": 3, "log_every": 1, "held_out": 0.2, "lora_rank": 4, "workers": 0}
SAME = 1e-6
"""Greatest difference of two weights of adapters that are the same: the order of sums differs between processes."""


class Trainer:
    """The command, over the store of `settings`, with the demo's model: in this process, which has loaded torch, or in
    one of its own."""

    def __init__(self, settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder = settings.data_dir / "adapters"
        self._capsys = capsys

    def start(self, name: str, **options: Any) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "trainer", *_words(name, options)]
        return subprocess.Popen(command, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def train(self, name: str, **options: Any) -> dict[str, torch.Tensor]:
        """The adapter's weights."""
        status = main(_words(name, options))
        said, problem = self._capsys.readouterr()
        assert status == 0, problem
        assert said.strip().endswith(name)
        return self.weights(name)

    def refuse(self, **options: Any) -> str:
        """The one sentence with which it refuses."""
        status = main(_words("refused", options))
        problem = self._capsys.readouterr().err
        assert status == 2, problem
        return _sentence(problem)

    def metrics(self, name: str) -> list[dict[str, float]]:
        """What was logged of each step."""
        lines = (self.folder / name / "metrics.jsonl").read_text().splitlines()
        return [said for line in lines if "loss" in (said := json.loads(line))]

    def weights(self, name: str) -> dict[str, torch.Tensor]:
        return load_file(self.folder / name / "adapter_model.safetensors")


def _sentence(problem: str) -> str:
    [sentence] = [line for line in problem.splitlines() if line.startswith("judgefree: ")]
    return sentence


def _words(name: str, options: dict[str, Any]) -> list[str]:
    return ["train", "--name", name, *(word for key, value in (QUICK | options).items() for word in _flag(key, value))]


def _flag(name: str, value: Any) -> list[str]:
    flag = f"--{name.replace('_', '-')}"
    return [flag] if value is True else [flag, str(value)]


@pytest.fixture
def trainer(
    settings: Settings, filled: Filled, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Trainer:
    monkeypatch.setenv("JUDGEFREE_DATA_DIR", str(settings.data_dir))
    monkeypatch.setenv("JUDGEFREE_DATABASE_URL", settings.store_url)
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "false")
    return Trainer(settings, capsys)


def difference(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    assert one.keys() == other.keys()
    return max(float((one[name] - other[name]).abs().max()) for name in one)


def test_a_run_that_was_killed_at_a_random_step_ends_in_the_adapter_of_an_unbroken_one(trainer: Trainer) -> None:
    unbroken = trainer.train("unbroken")
    assert max(float(weight.abs().max()) for name, weight in unbroken.items() if "lora_B" in name) > 0
    chance = random.Random(11)
    lines = trainer.folder / ".unfinished" / "killed" / "metrics.jsonl"
    for least in sorted(chance.sample(range(1, 11), 2)):
        process = trainer.start("killed")
        _wait_for_lines(lines, least, process)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    assert difference(trainer.train("killed"), unbroken) <= SAME
    said = trainer.metrics("killed")
    assert [line["step"] for line in said] == list(range(1, int(QUICK["steps"]) + 1))
    assert {"rewards/margins", "rewards/accuracies"} <= said[0].keys()


def test_an_adapter_carries_its_facts_and_is_loaded_by_peft(trainer: Trainer, snapshots: Snapshots) -> None:
    declare_missing_ops()
    from peft import PeftModel
    from transformers import AutoModelForImageTextToText

    trainer.train("first", steps=2)
    folder = trainer.folder / "first"
    [taken] = snapshots.all()
    facts = json.loads((folder / "training.json").read_text())
    assert facts["snapshot"]["sha256"] == taken.sha256
    assert facts["held_out"].keys() >= {"eval_loss", "eval_rewards/accuracies"}
    card = (folder / "README.md").read_text()
    assert taken.sha256 in card
    assert "learning_rate" in card
    assert not (trainer.folder / ".unfinished" / "first").exists()
    model = PeftModel.from_pretrained(AutoModelForImageTextToText.from_pretrained(local_model("demo", "mllm")), folder)
    adapted = {name for name, weight in model.named_parameters() if "lora_" in name}
    assert adapted
    assert all("language_model" in name for name in adapted)
    second = trainer.train("second", steps=2, parent=folder, tensorboard=True, margin_gamma=0.5)
    assert difference(second, trainer.weights("first")) > 0
    assert list((trainer.folder / "second" / "tensorboard").glob("events*"))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"least": 500}, "pairs to train on; at least 500 are wanted"),
        ({"policy": "another"}, "No pair in store is what was asked for"),
        ({"lora_targets": "qkv_proj"}, "has no qkv_proj: it has down_proj"),
        ({"model": str(ROOT / "docs")}, "cannot be loaded as a vision-language model"),
        ({"snapshot": "0123"}, "0 snapshots begin with '0123'"),
        ({"beta": -1}, "--beta = '-1': Input should be greater than 0"),
    ],
)
def test_what_cannot_be_trained_is_refused_in_one_sentence(
    trainer: Trainer, options: dict[str, Any], sentence: str
) -> None:
    assert sentence in trainer.refuse(**options)


def test_a_name_that_another_training_has_is_refused(trainer: Trainer) -> None:
    trainer.train("refused", steps=1)
    assert "another training in" in trainer.refuse(steps=2)


def test_a_mistake_is_told_before_torch_is_loaded(trainer: Trainer) -> None:
    code = (
        "import sys; sys.modules['torch'] = None; from trainer.__main__ import main;"
        f"sys.exit(main({_words('refused', {'least': 500})}))"
    )
    refused = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert refused.returncode == 2, refused.stderr
    assert "at least 500 are wanted" in _sentence(refused.stderr)


def _wait_for_lines(file: Path, least: int, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 120
    while not file.exists() or len(file.read_text().splitlines()) < least:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)
