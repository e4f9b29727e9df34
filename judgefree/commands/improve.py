"""`improve`: the model learns from its own pairs, round after round."""

import asyncio
import time
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from judgefree.commands.connection import open_client
from judgefree.commands.stack import no_settings_file, stop_on_signals
from judgefree.commands.submit import PATIENCE_S
from judgefree.commands.terminal import terminal
from judgefree.improvement.asked import POOL, PROMOTION, Asked
from judgefree.improvement.programs import Programs
from judgefree.improvement.rounds import Bench
from judgefree.improvement.rounds import improve as go_on
from judgefree.launcher.board import Board
from judgefree.launcher.parts import answers, base_url, plan
from judgefree.launcher.preflight import hold_folder, require_space
from judgefree.launcher.probes import HttpProbe
from judgefree.launcher.stack import Stack
from judgefree.mistakes import Mistake
from pairs.clock import now
from pairs.model import Method
from pairs.runs import ImprovementRun, Phase, Round, Runs, RunStatus
from pairs.settings import Settings, load_settings, public_name

LORA_RANK = 16
"""Of a vLLM that is started here, where the setting max_lora_rank says nothing; the trainer's own default."""
_TITLES = {
    Phase.GENERATING: "making pairs",
    Phase.TRAINING: "training",
    Phase.EVALUATING: "evaluating",
    Phase.JUDGING: "judging",
}


def improve(
    context: typer.Context,
    rounds: Annotated[int, typer.Option(min=1, help="How many rounds.")] = 5,
    name: Annotated[str | None, typer.Option(help="The run's name; made of the time if not given.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with --name, or with the last run.")] = False,
    images: Annotated[list[str] | None, typer.Option(help=f"Image files, folders or WORLD:SPLIT. [{POOL}]")] = None,
    count: Annotated[int, typer.Option(min=1, help="Images a round.")] = 1024,
    promote_on: Annotated[list[str] | None, typer.Option(help="Data sets of the gate.")] = None,
    test: Annotated[list[str] | None, typer.Option(help="Data sets that are reported and decide nothing.")] = None,
    method: Annotated[Method, typer.Option(help="How hallucination is injected.")] = Method.BLEND,
    ratio_mean: Annotated[float | None, typer.Option(help="Mean of the ratio.")] = None,
    ratio_std: Annotated[float | None, typer.Option(help="Its standard deviation.")] = None,
    temperature: Annotated[float | None, typer.Option(help="Sampling temperature of the pairs.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of scenes, pairs, training and intervals.")] = 0,
) -> None:
    """Generate, verify, train, evaluate and promote, round after round. Flags after `--` go to `judgefree train`."""
    asked = Asked(
        rounds=rounds,
        images=tuple(images or [POOL]),
        count=count,
        promote_on=tuple(promote_on or PROMOTION),
        test=tuple(test or ()),
        method=method,
        ratio_mean=ratio_mean,
        ratio_std=ratio_std,
        temperature=temperature,
        seed=seed,
        train=tuple(context.args),
    )
    settings = load_settings()
    run = asyncio.run(_found(settings, name) if resume else _begun(settings, name, asked))
    ended = _improve(settings, run)
    if ended is None:
        raise typer.Abort
    _conclude(terminal(stderr=False), ended, settings)


async def _begun(settings: Settings, name: str | None, asked: Asked) -> ImprovementRun:
    moment = now()
    called = name or f"run-{moment:%Y%m%d-%H%M%S}"
    run = ImprovementRun(
        name=called, model=public_name(settings.model), asked=asked.model_dump(mode="json"), created_at=moment
    )
    runs = await Runs.open(settings.store_url)
    try:
        if await runs.get(called) is not None:
            raise Mistake(f"There is a run {called} already; go on with it by --resume, or choose another --name.")
        await runs.save(run)
    finally:
        await runs.close()
    return run


async def _found(settings: Settings, name: str | None) -> ImprovementRun:
    runs = await Runs.open(settings.store_url)
    try:
        known = [run for run in await runs.all() if name in (None, run.name)]
    finally:
        await runs.close()
    if not known:
        raise Mistake("There is no run to go on with." if name is None else f"There is no run {name}.")
    return known[-1]


def _improve(settings: Settings, run: ImprovementRun) -> ImprovementRun | None:
    """Go on with the run on the stack that is up, or on one of its own; None when it was broken off."""
    if run.status is not RunStatus.RUNNING:
        return run
    console = terminal()
    if answers(HttpProbe(f"{base_url(settings.host, settings.port)}/readyz")):
        return asyncio.run(_work(settings, run, console))
    rank = settings.max_lora_rank or LORA_RANK
    settings = settings.model_copy(update={"max_lora_rank": rank})
    with hold_folder(settings.data_dir):
        require_space(settings.data_dir)
        what = plan(settings, no_settings_file(settings.data_dir))
        with Board(console, settings.data_dir / "logs") as board:
            running = Stack(what.parts, settings.data_dir / "logs", board)

            async def start() -> ImprovementRun | None:
                stop_on_signals(running)

                async def work() -> ImprovementRun:
                    board.rest()
                    return await _work(what.settings, run, console)

                return await running.run(work)

            return asyncio.run(start())


async def _work(settings: Settings, run: ImprovementRun, console: Console) -> ImprovementRun:
    folder = settings.data_dir / "improve" / run.name
    folder.mkdir(parents=True, exist_ok=True)
    with open_client(settings, patience_s=PATIENCE_S) as client, Lines(console) as view:
        programs = Programs(settings, folder / "trainer.log")
        bench = Bench(settings, client, programs, folder, settings.data_dir / "adapters", view)
        return await go_on(run, bench)


class Lines:
    """A line for each phase, with a bar while it goes on."""

    def __init__(self, console: Console) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
        self._console = console
        self._bar = Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=console, transient=True)
        self._task = self._bar.add_task("", total=None)
        self._title = ""
        self._began = time.monotonic()

    def __enter__(self) -> "Lines":
        if self._console.is_terminal:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def phase(self, run: ImprovementRun, current: Round) -> None:
        total = Asked.model_validate(run.asked).rounds
        self._title = f"round {current.number} of {total}: {_TITLES[current.phase]}"
        self._began = time.monotonic()
        self._bar.reset(self._task, description=self._title, total=None)
        if not self._console.is_terminal:
            self._console.print(self._title)

    def progress(self, done: int, total: int, said: str) -> None:
        about = f"{self._title}, {said}" if said else self._title
        self._bar.update(self._task, completed=done, total=total, description=about)

    def finished(self, run: ImprovementRun, current: Round) -> None:
        self._console.print(line_of(current))


def line_of(current: Round) -> str:
    """What came of a round, in one line."""
    decisions = ", ".join(f"{count} {decision}" for decision, count in current.decisions.items())
    figures = "; ".join(_changes(data) for data in (current.evaluation or {"data": []})["data"])
    verdict = "promoted" if current.is_promoted else f"not promoted ({'; '.join(current.reasons)})"
    took_s = sum(current.seconds.values())
    return f"round {current.number}: {decisions}; {figures}; {verdict}; {took_s:.0f} s"


def _changes(data: dict[str, object]) -> str:
    figures = data["figures"]
    assert isinstance(figures, dict)
    new, parent = figures.values()
    said = [
        f"{label} {parent['estimates'][name]['value']:.3f} -> {new['estimates'][name]['value']:.3f}"
        for name, label in (("chair_i", "CHAIR_i"), ("f1", "F1"))
    ]
    return f"{data['name']}: {', '.join(said)}"


def _conclude(console: Console, run: ImprovementRun, settings: Settings) -> None:
    served = [one.adapter for one in run.rounds if one.is_promoted]
    console.print(f"Run {run.name}: {len(run.rounds)} rounds, {len(served)} promoted.")
    if run.status is RunStatus.STOPPED:
        console.print(f"Stopped: {run.reason}.")
    if served:
        console.print(
            f"{run.model} is served with {served[-1]} from now on, by a vLLM that takes adapters: "
            f"`judgefree up --max-lora-rank {settings.max_lora_rank or LORA_RANK}`. "
            "`judgefree rollback` goes back."
        )
