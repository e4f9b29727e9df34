"""`improve`: the model learns from its own pairs, round after round."""

import asyncio
import re
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError
from rich.console import Console

from judgefree.commands.connection import open_client
from judgefree.commands.hosting import on_a_stack
from judgefree.commands.submit import PATIENCE_S
from judgefree.commands.terminal import terminal
from judgefree.improvement.asked import MOST_ROUNDS, POOL, PROMOTION, Asked
from judgefree.improvement.images import anchored
from judgefree.improvement.programs import Programs
from judgefree.improvement.report import FILE, served, write_report
from judgefree.improvement.rounds import Bench
from judgefree.improvement.rounds import improve as go_on
from judgefree.improvement.serving import require_adapters
from judgefree.improvement.view import Lines, show_summary
from judgefree.launcher.parts import answers, base_url, with_mllm_url
from judgefree.launcher.probes import HttpProbe
from judgefree.mistakes import Mistake
from pairs.clock import now
from pairs.model import Method
from pairs.places import only_replica
from pairs.runs import ImprovementRun, Runs, RunStatus
from pairs.settings import Settings, load_settings, public_name

LORA_RANK = 16
"""Of a vLLM that is started here, where the setting max_lora_rank says nothing; the trainer's own default."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
"""Folders and adapters are called after it."""
_WITH_RESUME = {"resume", "name"}


def improve(
    context: typer.Context,
    rounds: Annotated[int, typer.Option(min=1, max=MOST_ROUNDS, help="How many rounds.")] = 5,
    name: Annotated[str | None, typer.Option(help="The run's name; made of the time if not given.")] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with --name, or with the last unfinished run.")
    ] = False,
    images: Annotated[list[str] | None, typer.Option(help=f"Image files, folders or WORLD:SPLIT. [{POOL}]")] = None,
    count: Annotated[int, typer.Option(min=1, help="Images a round.")] = 1024,
    promote_on: Annotated[
        list[str] | None, typer.Option(help=f"Data sets of the gate. [{' '.join(PROMOTION)}]")
    ] = None,
    test: Annotated[list[str] | None, typer.Option(help="Data sets that are reported and decide nothing.")] = None,
    method: Annotated[Method, typer.Option(help="How hallucination is injected.")] = Method.BLEND,
    ratio_mean: Annotated[float | None, typer.Option(help="Mean of the ratio.")] = None,
    ratio_std: Annotated[float | None, typer.Option(help="Its standard deviation.")] = None,
    least_decided: Annotated[
        float | None, typer.Option(help="Raise the mean ratio each round until this share of pairs is decided.")
    ] = None,
    grounding_ratio: Annotated[
        float | None, typer.Option(help="Decode normal answers by contrast, at this ratio in [-2, 0).")
    ] = None,
    temperature: Annotated[float | None, typer.Option(help="Sampling temperature of the pairs.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of scenes, pairs, training and intervals.")] = 0,
) -> None:
    """Generate, verify, train, evaluate and promote, round after round. Flags after `--` go to `judgefree train`."""
    given = {field: value for field, value in locals().items() if field in Asked.model_fields and value is not None}
    settings, console = load_settings(), terminal()
    only_replica(settings.mllm_urls)  # an adapter is loaded, then asked: both at the same vLLM
    if resume:
        _refuse_beside_resume(context)
        run = asyncio.run(_found(settings, name))
        if run.status is RunStatus.RUNNING:
            _refuse_without_adapters(settings)
    else:
        asked = _asked(given | {"train": context.args})
        _refuse_without_adapters(settings)
        run = asyncio.run(_begun(settings, name, asked))
    folder = settings.data_dir / "improve" / run.name
    if run.status is RunStatus.RUNNING:
        resumed = f"`judgefree improve --resume --name {run.name}` goes on"
        console.print(f"Run {run.name}; {resumed} if it is broken off.")
        ended = _work(settings, run, folder, console)
        if ended is None:
            console.print(f"Run {run.name} was broken off; {resumed} with it.")
            raise typer.Abort
        run = ended
    else:
        console.print(f"Run {run.name} has ended already: there is nothing to go on with.")
        folder.mkdir(parents=True, exist_ok=True)
        write_report(folder, run, settings.data_dir / "adapters")
    _conclude(terminal(stderr=False), run, settings, folder)


def _asked(given: dict[str, Any]) -> Asked:
    """What the flags ask for. Raises Mistake, one sentence, for what cannot be done."""
    strangers = [word for word in given["train"][:1] if not word.startswith("-")]
    if strangers:
        raise Mistake(f"{strangers[0]} is no flag; images are named by --images, flags of the training after `--`.")
    try:
        asked = Asked.model_validate(given)
    except ValidationError as error:
        said = "; ".join(f"--{str(one['loc'][0]).replace('_', '-')}: {one['msg']}" for one in error.errors())
        raise Mistake(f"{said}.") from error
    return anchored(asked, Path.cwd())


def _refuse_beside_resume(context: typer.Context) -> None:
    """Raises Mistake where a flag beside --resume would be ignored."""
    named = [name for name in context.params if name not in _WITH_RESUME and _is_given(context, name)]
    flags = [f"--{name.replace('_', '-')}" for name in named] + (["the flags after --"] if context.args else [])
    if flags:
        raise Mistake(
            f"A run goes on as it was begun: leave out {', '.join(flags)}, or begin another without --resume."
        )


def _is_given(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name != "DEFAULT"


def _refuse_without_adapters(settings: Settings) -> None:
    """Raises Mistake where a vLLM runs that takes no adapters; where none runs, one that does is started."""
    reached = with_mllm_url(settings)
    if answers(HttpProbe(f"{reached.mllm_url}/health")):
        asyncio.run(require_adapters(reached, settings.max_lora_rank or LORA_RANK))


async def _begun(settings: Settings, name: str | None, asked: Asked) -> ImprovementRun:
    moment = now()
    called = name or f"run-{moment:%Y%m%d-%H%M%S}"
    if not _NAME.fullmatch(called):
        raise Mistake(f"{called} cannot be a run's name: it may have letters, digits, '.', '_' and '-'.")
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
    """The run of that name; without a name the last one that has not ended, or else the last one."""
    runs = await Runs.open(settings.store_url)
    try:
        known = [run for run in await runs.all() if name in (None, run.name)]
    finally:
        await runs.close()
    if not known:
        raise Mistake("There is no run to go on with." if name is None else f"There is no run {name}.")
    run = max(known, key=lambda one: (one.status is RunStatus.RUNNING, one.created_at))
    if run.model != public_name(settings.model):
        raise Mistake(f"Run {run.name} is of model {run.model}, and the settings say {public_name(settings.model)}.")
    return run


def _work(settings: Settings, run: ImprovementRun, folder: Path, console: Console) -> ImprovementRun | None:
    """Go on with the run on the stack that is up, or on one of its own; None when it was broken off."""
    folder.mkdir(parents=True, exist_ok=True)
    work = partial(_rounds, run=run, folder=folder, console=console)
    try:
        if answers(HttpProbe(f"{base_url(settings.host, settings.port)}/readyz")):
            return asyncio.run(work(with_mllm_url(settings)))
        rank = settings.max_lora_rank or LORA_RANK
        return on_a_stack(settings.model_copy(update={"max_lora_rank": rank}), console, work)
    except KeyboardInterrupt:  # a stack of its own takes it as a signal, and ends in order
        return None


async def _rounds(settings: Settings, run: ImprovementRun, folder: Path, console: Console) -> ImprovementRun:
    with open_client(settings, patience_s=PATIENCE_S) as client, Lines(console) as view:
        programs = Programs(settings, folder / "trainer.log")
        return await go_on(run, Bench(settings, client, programs, folder, settings.data_dir / "adapters", view))


def _conclude(console: Console, run: ImprovementRun, settings: Settings, folder: Path) -> None:
    show_summary(console, run)
    promoted = [one for one in run.rounds if one.is_promoted]
    rounds = f"{len(run.rounds)} round{'' if len(run.rounds) == 1 else 's'}"
    console.print(f"\n{rounds}, {len(promoted)} promoted. The report is {folder / FILE}.")
    if run.status is RunStatus.STOPPED:
        console.print(f"Stopped by the collapse watch: {run.reason}.")
    last = served(run)
    if last is not None:
        console.print(
            f"{last} was promoted last: `judgefree up --max-lora-rank {settings.max_lora_rank or LORA_RANK}` serves "
            f"{run.model} with it, `judgefree rollback` goes back."
        )
