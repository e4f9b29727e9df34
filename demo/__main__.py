"""The demo worlds' command line: `python -m demo render | score | train | evaluate`."""

from __future__ import annotations

import json
import os
from enum import StrEnum
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any

import typer

from demo.scenes import write_scenes
from demo.score import BadInputError, read_pairs, read_scenes, score_pairs
from demo.worlds import WORLDS, World

SHIPPED_WEIGHTS = {
    "shapes": Path(str(files("demo"))) / "weights",
    "digits": Path(str(files("demo"))) / "weights-digits",
}


class WorldName(StrEnum):
    SHAPES = "shapes"
    DIGITS = "digits"


class Split(StrEnum):
    IN_DISTRIBUTION = "in_distribution"
    THEME_BREAKING = "theme_breaking"
    DENSE = "dense"
    UNLABELLED = "unlabelled"


class Stage(StrEnum):
    ALL = "all"
    TOWER = "tower"
    MLLM = "mllm"
    CLIP = "clip"


app = typer.Typer(help="The demo worlds: rendered scenes with known objects, and two tiny models trained on each.")
WorldOption = Annotated[WorldName, typer.Option(help="Drawn shapes, or handwritten digits.")]


@app.command()
def render(
    out: Annotated[Path, typer.Option(help="Folder for the pictures and scenes.jsonl.")],
    count: Annotated[int, typer.Option(min=1, help="How many scenes.")] = 64,
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same pictures.")] = 0,
    split: Annotated[Split, typer.Option(help="How objects are drawn.")] = Split.IN_DISTRIBUTION,
    world: WorldOption = WorldName.SHAPES,
) -> None:
    """Render scenes as PNG files, with their ground truth in scenes.jsonl."""
    try:
        written = sum(1 for _ in write_scenes(out, split.value, seed, count, WORLDS[world]))
    except OSError as error:
        _fail(f"cannot write to {out}: {error.strerror}")
    typer.echo(f"{written} scenes in {out}")


@app.command()
def score(
    scenes: Annotated[Path, typer.Option(help="Folder that `render` wrote.")],
    pairs: Annotated[Path, typer.Option(help="Pairs, one JSON object a line, each with `file`.")],
) -> None:
    """Score preference pairs against the ground truth of their scenes; prints one JSON object."""
    try:
        figures = score_pairs(read_pairs(pairs), read_scenes(scenes))
    except BadInputError as error:
        _fail(str(error))
    typer.echo(json.dumps(figures, indent=2))


@app.command()
def train(
    out: Annotated[
        Path | None, typer.Option(help="Folder for checkpoints, weights and card; build/demo-WORLD if not given.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    world: WorldOption = WorldName.SHAPES,
    stage: Annotated[Stage, typer.Option(help="Only this stage, or all.")] = Stage.ALL,
    fast: Annotated[
        bool, typer.Option("--fast", help="A dozen steps a stage: tries the machinery, not the models.")
    ] = False,
) -> None:
    """Train both models from nothing; interrupted at any time, the same command goes on where it was."""
    _prepare_torch()
    from demo.models.training import ForeignCheckpointError
    from demo.train import StageFailedError, train_all, train_clip, train_mllm, train_tower

    stages = {Stage.ALL: train_all, Stage.TOWER: train_tower, Stage.MLLM: train_mllm, Stage.CLIP: train_clip}
    out = out or Path("build") / f"demo-{world.value}"
    try:
        stages[stage](out, WORLDS[world], seed, fast=fast, say=typer.echo)
    except (ForeignCheckpointError, StageFailedError) as error:
        _fail(str(error))
    if stage is Stage.ALL:
        _measure(out, WORLDS[world], count=4 if fast else 500, must_hold=not fast)


@app.command()
def evaluate(
    weights: Annotated[
        Path | None, typer.Option(help="Folder with mllm/, clip/ and the patch head; the shipped ones if not given.")
    ] = None,
    count: Annotated[int, typer.Option(min=1, help="Unseen scenes a split.")] = 500,
    world: WorldOption = WorldName.SHAPES,
) -> None:
    """Measure weights on unseen scenes and write their card; exits with 1 where a promised bound does not hold."""
    _prepare_torch()
    _measure(weights or SHIPPED_WEIGHTS[world], WORLDS[world], count, must_hold=True)


def _measure(weights: Path, world: World, count: int, *, must_hold: bool) -> None:
    from demo.evaluate import evaluate as evaluate_weights

    card = evaluate_weights(weights, world, count, report=typer.echo)
    for bound in card["bounds"]:
        typer.echo(f"{'holds' if bound['holds'] else 'FAILS'}: {bound['claim']}: {_figures(bound)}")
    typer.echo(f"cards: {weights / 'MODEL_CARD.md'} and model_card.json")
    if must_hold and not all(bound["holds"] for bound in card["bounds"]):
        raise typer.Exit(1)


def _figures(bound: dict[str, Any]) -> str:
    return ", ".join(f"{figure:.4g}" for figure in bound["figures"])


def _prepare_torch() -> None:
    """Both variables are read when torch and transformers are first imported: hence the imports inside the commands."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")


def _fail(message: str) -> None:
    typer.echo(message, err=True)
    raise typer.Exit(2)


if __name__ == "__main__":
    app()
