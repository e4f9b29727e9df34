"""`train`: pairs to an adapter."""

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from pairs.errors import SettingsError
from pairs.model import Decision
from pairs.settings import Settings, load_settings, local_model
from pairs.store import PairFilter
from trainer.recipe import Recipe
from trainer.rows import PairsFile, Source, StoreSource, UnreadableSource
from trainer.run import FACTS, UNFINISHED, Run
from trainer.selection import TRAINABLE, Selection
from trainer.snapshot import Snapshot, Snapshots


def run_training(arguments: Sequence[str]) -> None:
    """Train an adapter on the store's pairs and say where it is."""
    recipe = Recipe.read(arguments)
    settings = load_settings()
    snapshots = Snapshots(settings.snapshots_url, settings.images_url)
    adapters = recipe.out or settings.data_dir / "adapters"
    is_first = _is_first()
    name = _ready(recipe, settings, snapshots, adapters) if is_first else ""
    import torch  # takes seconds, as what follows does; what is wrong so far is said before
    from accelerate import PartialState

    from trainer.training import train

    PartialState(cpu=not torch.cuda.is_available())
    run = plan(recipe, settings, snapshots.find(_agreed(name)))
    console = Console(stderr=True)
    if is_first:
        console.print(f"Training {run.name} on snapshot {run.snapshot.name}: {run.snapshot.trained_on} pairs")
    folder = train(run, snapshots, adapters, console)
    if is_first:
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


def _is_first() -> bool:
    """Whether this is the only process of its run or, as torchrun and accelerate number them, the first of several."""
    return int(os.environ.get("RANK", "0")) == 0


def _ready(recipe: Recipe, settings: Settings, snapshots: Snapshots, adapters: Path) -> str:
    """The name of the snapshot of a run that may begin."""
    snapshot = _snapshot(recipe, settings, snapshots, adapters)
    plan(recipe, settings, snapshot).require_beginning(adapters)
    return snapshot.name


def _agreed(name: str) -> str:
    """The snapshot's name, the same for every process of a distributed run: the first one says it."""
    from accelerate.utils import broadcast_object_list

    names = [name]
    broadcast_object_list(names)
    return names[0]


def _snapshot(recipe: Recipe, settings: Settings, snapshots: Snapshots, adapters: Path) -> Snapshot:
    """The one that is named, or that an interrupted run of this name began with, or a new one."""
    if recipe.snapshot is not None:
        return snapshots.find(recipe.snapshot)
    for folder in (adapters, adapters / UNFINISHED):
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
