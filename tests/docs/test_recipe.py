"""The recipe for a GPU: every command of the page is one that its program understands, and training is run as it says,
on the tiny model.
"""

import asyncio
import re
import shlex
from importlib.metadata import metadata
from pathlib import Path
from typing import Any

import pytest
import typer
from accelerate.commands.launch import launch_command_parser

from judgefree.cli import app
from pairs.settings import ENV_PREFIX, Settings
from tests.trainer.conftest import fill
from tools.memory import tables
from trainer.__main__ import main
from trainer.commands.evaluate import parser as evaluate_parser
from trainer.recipe import Recipe
from workers.mllm.obstacles import obstacle_in

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "recipes" / "llava-1.5-7b.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL)
LINES = [line for block in BLOCKS for line in block.replace("\\\n", " ").splitlines()]
COMMANDS = [shlex.split(line) for line in LINES]


def begins(*words: str) -> list[list[str]]:
    """The further words of each command that begins so."""
    return [command[len(words) :] for command in COMMANDS if command[: len(words)] == list(words)]


def test_every_command_of_the_page_is_of_a_kind_that_is_checked() -> None:
    known = ("judgefree", "export", "accelerate", "curl", "python3.11", "pip")
    assert {command[0] for command in COMMANDS} == set(known)
    checked = {"up", "submit", "improve", "rollback", "train", "evaluate"}
    assert {command[1] for command in COMMANDS if command[0] == "judgefree"} == checked


@pytest.mark.parametrize("name", ["up", "submit", "improve", "rollback"])
def test_flags_are_known_to_their_command(name: str) -> None:
    commands: Any = typer.main.get_command(app)
    assert begins("judgefree", name)
    for words in begins("judgefree", name):
        own, _, further = " ".join(map(shlex.quote, words)).partition(" -- ")
        context = commands.commands[name].make_context(name, shlex.split(own))
        assert not context.args
        Recipe.read(shlex.split(further))


def test_flags_are_known_to_the_trainer_and_the_evaluator() -> None:
    for words in begins("judgefree", "train"):
        assert Recipe.read(words).model == "llava-hf/llava-1.5-7b-hf"
    for words in begins("judgefree", "evaluate"):
        assert evaluate_parser().parse_args(words).data
    launches = begins("accelerate", "launch")
    assert len(launches) == 2
    for words in launches:
        asked = launch_command_parser().parse_args(words)
        assert (ROOT / asked.config_file).is_file()
        assert asked.module
        assert asked.training_script == "trainer"
        command, *flags = asked.training_script_args
        assert command == "train"
        assert Recipe.read(flags).gradient_checkpointing


def test_settings_and_extras_are_known() -> None:
    given = dict(word.split("=", 1) for [word] in begins("export"))
    names = {name.removeprefix(ENV_PREFIX).lower() for name in [*given, *re.findall(r"JUDGEFREE_\w+", PAGE)]}
    assert names <= Settings.model_fields.keys()
    assert obstacle_in(given[f"{ENV_PREFIX}MLLM_ARGS"].split()) is None
    [extras] = re.findall(r"\.\[([\w,-]+)\]", PAGE)
    assert set(extras.split(",")) <= set(metadata("judgefree").get_all("Provides-Extra") or ())


def test_memory_is_what_the_tool_computes() -> None:
    assert tables(lora_rank=128, pairs=4, answer_tokens=256, gpus=4) in PAGE


def test_the_tiny_model_is_trained_by_the_recipes_command(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asyncio.run(fill(settings))
    monkeypatch.setenv("JUDGEFREE_DATA_DIR", str(settings.data_dir))
    monkeypatch.setenv("JUDGEFREE_DATABASE_URL", settings.store_url)
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "false")
    [words] = begins("judgefree", "train")
    tiny = ["--model", "demo", "--steps", "1", "--batch-size", "2", "--workers", "0"]
    status = main(["train", *words, *tiny])
    said, problem = capsys.readouterr()
    assert status == 0, problem
    folder = Path(said.strip())
    assert folder.name == "round-1"
    assert (folder / "adapter_model.safetensors").is_file()
