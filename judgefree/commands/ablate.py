"""`ablate`: what each part of the method is worth, measured."""

import re
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from judgefree.ablation.cells import CELLS, EQUAL, REDUCED, SENSITIVITY, TEST, THRESHOLDS, Asked, Trial, trials
from judgefree.ablation.running import Bench, Folder, run
from judgefree.ablation.writing import about, findings, shown, write
from judgefree.commands.connection import open_client
from judgefree.commands.hosting import on_a_stack
from judgefree.commands.improve import LORA_RANK
from judgefree.commands.submit import PATIENCE_S
from judgefree.commands.terminal import terminal
from judgefree.improvement.asked import POOL
from judgefree.improvement.programs import Programs
from judgefree.mistakes import Mistake, PartFailed
from pairs.model import RATIO_MAX, RATIO_MIN
from pairs.places import only_replica
from pairs.settings import Settings, load_settings

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
COUNT, SEEDS = 512, 3
MOST = 8
"""Images to a pair, at most."""
SMALLEST, LARGEST = (CELLS[name].count or 0 for name in (SENSITIVITY[0], SENSITIVITY[-1]))
MOST_OF_MANY = 3
"""The same for the larger number of a cell of its own: chance evens out, and about two are decided of five."""
WIDTH = 120
"""Of tables that go to a file or a pipe, in columns."""
REDUCED_COUNT, REDUCED_TEST = 64, ("demo:theme_breaking:100:20000",)


def ablate(
    context: typer.Context,
    name: Annotated[str | None, typer.Option(help="The ablation's name; run again under it to go on.")] = None,
    cells: Annotated[
        str | None, typer.Option(help=f"Some of {','.join(CELLS)}, by commas. [all of equal size]")
    ] = None,
    seeds: Annotated[int | None, typer.Option(min=1, help=f"Seeds a cell. [{SEEDS}]")] = None,
    count: Annotated[
        int | None,
        typer.Option(min=8, help=f"Pairs that every cell without a number of its own is trained on. [{COUNT}]"),
    ] = None,
    most: Annotated[
        int | None,
        typer.Option(
            min=8,
            help=f"Most images of a pool. [{MOST} times the pairs, {MOST_OF_MANY} times those of a number of its own]",
        ),
    ] = None,
    images: Annotated[list[str] | None, typer.Option(help=f"Image files, folders or WORLD:SPLIT. [{POOL}]")] = None,
    test: Annotated[list[str] | None, typer.Option(help="Data sets that are reported.")] = None,
    ratio_mean: Annotated[
        float, typer.Option(min=RATIO_MIN, max=RATIO_MAX, help="Mean of the ratio, where it is drawn.")
    ] = 0.5,
    ratio_std: Annotated[float, typer.Option(min=0, max=2, help="Its standard deviation.")] = 0.15,
    grounding_ratio: Annotated[
        float | None,
        typer.Option(min=RATIO_MIN, max=-0.01, help="Decode normal answers by contrast, with this ratio in [-2, 0)."),
    ] = None,
    reduced: Annotated[bool, typer.Option("--reduced", help="A few cells, small: ten minutes on two cores.")] = False,
    sensitivity: Annotated[
        bool, typer.Option("--sensitivity", help=f"The default alone, on {SMALLEST} to {LARGEST} pairs.")
    ] = False,
    out: Annotated[Path | None, typer.Option(help="Result as JSON, and beside it as Markdown.")] = None,
) -> None:
    """Change one part of the method at a time, at equal pairs and steps. Flags after `--` go to `judgefree train`."""
    if sensitivity and (cells or count or reduced):
        raise Mistake("--sensitivity has cells and numbers of pairs of its own: leave out --cells, --count, --reduced.")
    names = cells.split(",") if cells else SENSITIVITY if sensitivity else REDUCED if reduced else EQUAL
    wanted = list(trials(names, seeds or (1 if reduced else SEEDS)))
    pairs = count or (REDUCED_COUNT if reduced else COUNT)
    needed = (MOST_OF_MANY * cell.count if cell.count else MOST * pairs for cell in (trial.cell for trial in wanted))
    asked = Asked(
        count=pairs,
        most=most or max(needed),
        images=tuple(images or [POOL]),
        test=tuple(test or (REDUCED_TEST if reduced else TEST)),
        train=tuple(context.args),
        ratio_mean=ratio_mean,
        ratio_std=ratio_std,
        grounding_ratio=grounding_ratio,
    )
    called = name or ("sensitivity" if sensitivity else "reduced" if reduced else "ablation")
    if _NAME.fullmatch(called) is None:
        raise Mistake(f"{called} is no name of an ablation: letters, digits, dots, dashes and underscores are.")
    largest = max(trial.cell.pairs(asked.count) for trial in wanted)
    if asked.most < largest:
        raise Mistake(f"{largest} pairs cannot come of {asked.most} images; raise --most or lower --count.")
    settings = load_settings()
    only_replica(settings.mllm_urls)  # an adapter is loaded, then asked: both at the same vLLM
    folder = Folder(settings.data_dir.resolve() / "ablate" / called)
    console = terminal()
    folder.hold(asked)
    if not _work_off(settings, asked, folder, wanted, console):
        raise typer.Abort
    _conclude(asked, folder, wanted, out or folder.root / "result.json")


def _work_off(settings: Settings, asked: Asked, folder: Folder, wanted: Sequence[Trial], console: Console) -> bool:
    """Run what is not done yet, on a stack for each scorer; False when it was broken off."""
    remaining = [trial for trial in wanted if folder.result(trial) is None]
    for scorer, group in groupby(remaining, key=lambda trial: trial.cell.pool.scorer):
        ours = {"scorer": scorer, "margin_threshold": THRESHOLDS[scorer]}
        rank = {"max_lora_rank": settings.max_lora_rank or LORA_RANK}
        ran = on_a_stack(settings.model_copy(update=ours | rank), console, _work(asked, folder, list(group), console))
        if ran is None:
            return False
    return True


def _work(
    asked: Asked, folder: Folder, some: Sequence[Trial], console: Console
) -> Callable[[Settings], Awaitable[bool]]:
    """The trials, as work for a stack."""

    async def work(settings: Settings) -> bool:
        with open_client(settings, patience_s=PATIENCE_S) as client, following(console, len(some)) as view:
            programs = Programs(settings, folder.root / "trainer.log")
            await run(some, Bench(settings, asked, folder, client, programs, view))
        return True

    return work


class Lines:
    """A line for each trial that is done, and a bar for the one that goes on."""

    def __init__(self, console: Console, bar: Progress, total: int) -> None:
        self._console, self._bar, self._total = console, bar, total
        self._task = bar.add_task("", total=None)
        self._done = 0
        self._began = time.monotonic()

    def phase(self, trial: Trial, said: str) -> None:
        title = f"{self._done + 1} of {self._total}: {trial.cell.name}, seed {trial.seed}: {said}"
        self._bar.reset(self._task, description=title, total=None)

    def progress(self, done: int, total: int) -> None:
        self._bar.update(self._task, completed=done, total=total)

    def finished(self, trial: Trial, result: dict[str, Any]) -> None:
        self._done += 1
        figures = "; ".join(
            f"{name}: CHAIR_i {_change(data['chair_i'])}, F1 {_change(data['f1'])}"
            for name, data in result["data"].items()
        )
        took_s = sum(result["seconds"].values())
        left_min = (time.monotonic() - self._began) / self._done * (self._total - self._done) / 60
        said = f"{trial.cell.name}, seed {trial.seed}: {figures}; {took_s:.0f} s; {left_min:.0f} min left"
        self._console.print(said)

    def left_out(self, trial: Trial, reason: str) -> None:
        self._done += 1
        self._console.print(f"{trial.cell.name}, seed {trial.seed}: left out, {reason}")


def _change(figure: dict[str, float]) -> str:
    return f"{figure['base']:.3f} -> {figure['adapter']:.3f}"


@contextmanager
def following(console: Console, total: int) -> Iterator[Lines]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    bar = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
    with bar:
        yield Lines(console, bar, total)


def _conclude(asked: Asked, folder: Folder, wanted: Sequence[Trial], out: Path) -> None:
    results = [result for trial in wanted if (result := folder.result(trial)) is not None]
    if not results:
        raise PartFailed("No cell had enough pairs; raise --most or lower --count.")
    found = findings(asked, results)
    beside = write(found, out)
    console = terminal(stderr=False)
    console.print(about(found))
    page = console if console.is_terminal else Console(width=WIDTH)
    for table in shown(found):
        page.print(table)
    console.print(f"{out} and {beside} have it.")
    missing = [trial for trial in wanted if folder.result(trial) is None]
    if missing:
        left = ", ".join(trial.name for trial in missing)
        raise Mistake(f"Left out for want of pairs: {left}; raise --most.")
