"""`demo`: see the method work, from rendered scenes to scored pairs, on a stack of its own."""

import asyncio
import json
import shutil
import time
from collections.abc import Iterable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from judgefree.commands.connection import open_client
from judgefree.commands.progress import follow
from judgefree.commands.stack import no_settings_file, stop_on_signals
from judgefree.commands.submit import PATIENCE_S
from judgefree.commands.terminal import terminal
from judgefree.demonstration import Places, Shown, demo_settings, render, score, submit_scenes
from judgefree.launcher.board import Board
from judgefree.launcher.parts import Plan, plan
from judgefree.launcher.preflight import hold_folder, require_space
from judgefree.launcher.stack import Stack
from judgefree.submission import Outcome, Tally
from pairs.settings import load_settings


class Split(StrEnum):
    THEME_BREAKING = "theme_breaking"
    IN_DISTRIBUTION = "in_distribution"
    DENSE = "dense"
    UNLABELLED = "unlabelled"


def demo(
    count: Annotated[int, typer.Option(min=1, help="How many scenes to render.")] = 64,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the scenes.")] = 0,
    split: Annotated[Split, typer.Option(help="Which kind of scenes.")] = Split.IN_DISTRIBUTION,
    out: Annotated[
        Path | None, typer.Option(help="Where the results go; `demo` in the data folder if not given.")
    ] = None,
    keep: Annotated[bool, typer.Option(help="Keep the stack's own folder too: queue, store, images, logs.")] = False,
) -> None:
    """Render scenes with known truth, turn them into pairs, and score the pairs. Exit code 0 only if all came out."""
    began = time.monotonic()
    places = Places(out or load_settings().data_dir / "demo")
    console = terminal()
    with hold_folder(places.root):
        require_space(places.root)
        places.clear()
        places.stack.mkdir()
        console.print(f"Rendering {count} scenes into {places.scenes}")
        scenes = render(places, count, seed, split)
        shown = _submit(scenes, places, console)
        if shown is None:
            raise typer.Abort
        truth = score(places)
        _conclude(terminal(stderr=False), places, truth, shown, time.monotonic() - began)
        if shown.tally.finished < count:
            for failure in shown.tally.failures:
                console.print(f"{failure.file}: {failure.reason}", style="red")
            console.print(f"The logs are in {places.stack / 'logs'}.")
            raise typer.Exit(1)
        if not keep:
            shutil.rmtree(places.stack)


def _submit(scenes: list[Path], places: Places, console: Console) -> Shown | None:
    """Start a stack, submit the scenes, end it; None when the person broke it off."""
    what = plan(demo_settings(places), no_settings_file(places.stack))
    with Board(console, places.stack / "logs") as board:
        return asyncio.run(_run(what, scenes, places, board))


async def _run(what: Plan, scenes: list[Path], places: Places, board: Board) -> Shown | None:
    running = Stack(what.parts, places.stack / "logs", board)
    stop_on_signals(running)

    def shown(outcomes: Iterable[Outcome], total: int, tally: Tally) -> Iterator[Outcome]:
        board.rest()
        return follow(outcomes, total, tally, board.console)

    async def work() -> Shown:
        with open_client(what.settings, patience_s=PATIENCE_S) as client:
            return await submit_scenes(client, scenes, places, shown)

    return await running.run(work)


def _conclude(console: Console, places: Places, truth: dict[str, Any], shown: Shown, took_s: float) -> None:
    accuracy, decided, answers = truth["pair_accuracy"], truth["decided_pairs"], truth["answers"]
    before, after = (f"{_percent(accuracy[when])} of {decided[when]}" for when in ("before", "after"))
    rows = (
        (
            "decisions",
            f"{truth['pairs']} pairs: {truth['kept']} kept, {truth['swapped']} swapped, {truth['discarded']} discarded",
        ),
        ("pair accuracy", f"{before} before verification, {after} after"),
        (
            "CHAIR_i",
            f"{_percent(answers['chosen']['chair_i'])} chosen, {_percent(answers['rejected']['chair_i'])} rejected",
        ),
        ("speed", f"{shown.pairs_per_s:.1f} pairs/s; {took_s:.0f} s in all, with starting and ending the stack"),
        ("pairs", str(places.pairs)),
        ("parquet", str(places.parquet)),
        ("contact sheet", str(places.sheet)),
    )
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        console.print(Text.assemble((f"{name:<{width}}", "bold"), "  ", value))  # no table: one would cut the paths
    summary = truth | {"pairs_per_s": shown.pairs_per_s, "took_s": took_s}
    places.summary.write_text(json.dumps(summary, indent=2) + "\n")


def _percent(share: float | None) -> str:
    return "none" if share is None else f"{100 * share:.1f} %"
