"""`train`: pairs to an adapter."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import torch
from accelerate import PartialState
from accelerate.utils import broadcast_object_list
from rich.console import Console

from pairs.errors import SettingsError
from pairs.model import Decision
from pairs.settings import Settings, load_settings, local_model
from pairs.store import PairFilter
from trainer.recipe import Recipe
from trainer.rows import PairsFile, Source, StoreSource, UnreadableSource
from trainer.selection import TRAINABLE, Selection
from trainer.snapshot import Snapshot, Snapshots
from trainer.training import FACTS, Run, train


def run_training(arguments: Sequence[str]) -> None:
    """Train an adapter on the store's pairs and say where it is."""
    recipe = Recipe.read(arguments)
    settings = load_settings()
    snapshots = Snapshots(settings.snapshots_url, settings.images_url)
    adapters = recipe.out or settings.data_dir / "adapters"
    console = Console(stderr=True)
    process = PartialState(cpu=not torch.cuda.is_available())
    snapshot = _agreed(process, recipe, settings, snapshots, adapters)
    run = plan(recipe, settings, snapshot)
    if process.is_main_process:
        console.print(f"Training {run.name} on snapshot {snapshot.name}: {snapshot.trained_on} pairs")
    folder = train(run, snapshots, adapters, console)
    if process.is_main_process:
        print(folder)  # noqa: T201 - the command's result


def plan(recipe: Recipe, settings: Settings, snapshot: Snapshot) -> Run:
    """The run that a recipe describes; without a name it is called after what it is of."""
    base = local_model(recipe.model or settings.model, "mllm")
    parent = Path(recipe.parent).resolve() if recipe.parent else None
    unnamed = Run("", base, parent, snapshot, recipe)
    identity = json.dumps(unnamed.identity(), sort_keys=True).encode()
    name = recipe.name or f"{snapshot.name}-{hashlib.sha256(identity).hexdigest()[:6]}"
    return Run(name, base, parent, snapshot, recipe)


def selection(recipe: Recipe) -> Selection:
    """What a new snapshot takes."""
    decision = Decision(recipe.decision) if recipe.decision else None
    return Selection(
        PairFilter(decision, TRAINABLE, recipe.min_margin, recipe.policy),
        recipe.max_margin,
        recipe.per_image,
        recipe.per_policy,
        recipe.balance_methods,
        recipe.count,
        recipe.held_out,
        recipe.seed,
        None if recipe.pairs is None else _ids(recipe.pairs),
    )


def _ids(file: Path) -> frozenset[str]:
    try:
        return frozenset(str(json.loads(line)["id"]) for line in file.read_text(encoding="utf-8").splitlines())
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UnreadableSource(f"{file} is no file of pairs, one JSON object with an id a line.") from error


def _agreed(
    process: PartialState, recipe: Recipe, settings: Settings, snapshots: Snapshots, adapters: Path
) -> Snapshot:
    """The snapshot, the same for every process of a distributed run: the first one takes it."""
    names = [""]
    if process.is_main_process:
        names = [_snapshot(recipe, settings, snapshots, adapters).name]
    broadcast_object_list(names)
    return snapshots.find(names[0])


def _snapshot(recipe: Recipe, settings: Settings, snapshots: Snapshots, adapters: Path) -> Snapshot:
    """The one that is named, or that an interrupted run of this name began with, or a new one."""
    if recipe.snapshot is not None:
        return snapshots.find(recipe.snapshot)
    for folder in (adapters, adapters / ".unfinished"):
        begun = folder / (recipe.name or "") / FACTS
        if recipe.name is not None and begun.exists():
            return snapshots.find(json.loads(begun.read_text(encoding="utf-8"))["run"]["snapshot"])
    return snapshots.take(_source(recipe, settings), selection(recipe))


def _source(recipe: Recipe, settings: Settings) -> Source:
    """The store, or under an arrangement the file of pairs itself."""
    if recipe.arrange is None:
        return StoreSource(settings.store_url, settings.images_url)
    if recipe.pairs is None:
        raise SettingsError(f"--arrange {recipe.arrange} is a rule for the pairs of a file; name it with --pairs.")
    return PairsFile(recipe.pairs, recipe.arrange, settings.images_url)
