"""The rounds of a run: what each phase does, one after the other, each written down when it is done."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from judgefree.client import Client, Fields
from judgefree.improvement import watch
from judgefree.improvement.asked import Asked
from judgefree.improvement.gate import judge
from judgefree.improvement.images import images_of
from judgefree.improvement.programs import Programs, flags
from judgefree.improvement.ratio import ratio_of
from judgefree.improvement.report import write_report
from judgefree.improvement.serving import load
from judgefree.ledger import Ledger
from judgefree.mistakes import PartFailed
from judgefree.submission import Tally, submit_all
from pairs.adapters import BASE, Adapter, Adapters
from pairs.clock import now
from pairs.model import Decision, GroundingMethod
from pairs.runs import ImprovementRun, Phase, Round, Runs, RunStatus
from pairs.settings import Settings, public_name

CONCURRENCY = 64
TIMEOUT_S = 600.0
PROBED = 128
"""Images that a ratio is tried on."""
PROBE = 64
"""Answers of the probe set, on which the drift from the base is measured."""


class View(Protocol):
    """Who is told how a run goes on."""

    def phase(self, run: ImprovementRun, current: Round) -> None:
        """The round's phase begins."""

    def progress(self, done: int, total: int, said: str) -> None:
        """How far it is."""

    def done(self, run: ImprovementRun, current: Round, phase: Phase) -> None:
        """A phase is done and written down; `current` is the round after it."""


@dataclass(frozen=True)
class Bench:
    """What a run works with: `folder` holds its pairs, answers and logs; adapters rest in `adapters`."""

    settings: Settings
    client: Client
    programs: Programs
    folder: Path
    adapters: Path
    view: View

    def of(self, current: Round) -> Path:
        folder = self.folder / f"round-{current.number}"
        folder.mkdir(parents=True, exist_ok=True)
        return folder


async def improve(run: ImprovementRun, bench: Bench) -> ImprovementRun:
    """Go on with the run until its last round, or until the collapse watch stops it; returns it as it ended."""
    async with AsyncExitStack() as stack:
        runs = await Runs.open(bench.settings.store_url)
        stack.push_async_callback(runs.close)
        registry = await Adapters.open(bench.settings.store_url)
        stack.push_async_callback(registry.close)
        while run.status is RunStatus.RUNNING:
            current = await _current(run, registry)
            if current is None:
                run = run.model_copy(update={"status": RunStatus.DONE})
                await runs.save(run)
            else:
                run = await _step(run, current, bench, registry, runs)
        await asyncio.to_thread(write_report, bench.folder, run, bench.adapters)
    return run


async def _step(run: ImprovementRun, current: Round, bench: Bench, registry: Adapters, runs: Runs) -> ImprovementRun:
    """One phase of the round, written down; after the round's last, the report too."""
    phase, began = current.phase, time.monotonic()
    bench.view.phase(run, current)
    run, current = await _STEPS[phase](run, current, bench, registry)
    current = _timed(current, phase, time.monotonic() - began)
    run = run.with_round(current)
    await runs.save(run)
    if current.phase is Phase.DONE:
        await asyncio.to_thread(write_report, bench.folder, run, bench.adapters)
    bench.view.done(run, current, phase)
    return run


async def _current(run: ImprovementRun, registry: Adapters) -> Round | None:
    """The round to go on with; None after the last."""
    if run.rounds and run.rounds[-1].phase is not Phase.DONE:
        return run.rounds[-1]
    if len(run.rounds) == Asked.model_validate(run.asked).rounds:
        return None
    parent = await registry.promoted(run.model)
    return Round(number=len(run.rounds) + 1, parent=None if parent is None else parent.name)


Step = Callable[[ImprovementRun, Round, Bench, Adapters], Awaitable[tuple[ImprovementRun, Round]]]


async def _generate(
    run: ImprovementRun, current: Round, bench: Bench, registry: Adapters
) -> tuple[ImprovementRun, Round]:
    """Pairs of the round's images by the parent policy."""
    asked = Asked.model_validate(run.asked)
    images = await asyncio.to_thread(images_of, asked, current.number, bench.settings.data_dir / "scenes")

    async def probe(ratio_mean: float) -> float:
        file = bench.of(current) / f"probe-{ratio_mean:g}.jsonl"
        return watch.decided(await _pairs_of(images[:PROBED], ratio_mean, asked, current, bench, file))

    ratio_mean = asked.ratio_mean
    if asked.least_decided is not None:
        start = bench.settings.ratio_mean if ratio_mean is None else ratio_mean
        ratio_mean = await ratio_of(start, asked.least_decided, probe)
    decisions = await _pairs_of(images, ratio_mean, asked, current, bench, bench.of(current) / "pairs.jsonl")
    found = {"phase": Phase.TRAINING, "decisions": decisions, "ratio_mean": ratio_mean}
    return run, current.model_copy(update=found)


async def _pairs_of(
    images: Sequence[Path], ratio_mean: float | None, asked: Asked, current: Round, bench: Bench, file: Path
) -> dict[str, int]:
    """Make the images' pairs, noted in the ledger `file`, and count their decisions."""
    fields = Fields(
        method=asked.method,
        ratio_mean=ratio_mean,
        ratio_std=asked.ratio_std,
        grounding=None if asked.grounding_ratio is None else GroundingMethod.CONTRASTIVE,
        grounding_ratio=asked.grounding_ratio,
        temperature=asked.temperature,
        seed=asked.seed,
        adapter=current.parent or BASE,
    )
    said = "" if ratio_mean is None else f"ratio around {ratio_mean:g}"
    tally = Tally()

    def submit() -> None:
        with Ledger(file) as ledger:
            for outcome in submit_all(bench.client, images, fields, ledger, CONCURRENCY, TIMEOUT_S):
                tally.add(outcome)
                bench.view.progress(tally.finished + len(tally.failures), len(images), said)
        if tally.failures:
            first = tally.failures[0]
            raise PartFailed(f"{len(tally.failures)} images made no pair, the first is {first.file}: {first.reason}")

    await asyncio.to_thread(submit)
    return await asyncio.to_thread(_decisions, file)


async def _train(run: ImprovementRun, current: Round, bench: Bench, registry: Adapters) -> tuple[ImprovementRun, Round]:
    """An adapter on the round's pairs, going on from the parent; in the registry when it is done."""
    asked = Asked.model_validate(run.asked)
    name = f"{run.name}-{current.number}"
    parent = None if current.parent is None else await registry.known(run.model, current.parent)
    words = flags(
        name=name,
        out=bench.adapters,
        model=bench.settings.model,
        parent=None if parent is None else parent.path,
        pairs=bench.of(current) / "pairs.jsonl",
        seed=asked.seed,
    )
    metrics = bench.adapters / ".unfinished" / name / "metrics.jsonl"
    await bench.programs.run("train", *words, *asked.train, tick=lambda: _show(metrics, bench.view))
    facts = json.loads((bench.adapters / name / "training.json").read_text(encoding="utf-8"))
    snapshot = facts["snapshot"]["sha256"]
    adapter = Adapter(
        name=name,
        model=run.model,
        path=str((bench.adapters / name).resolve()),
        parent=current.parent,
        snapshot_sha256=snapshot,
        run=run.name,
        round=current.number,
        created_at=now(),
    )
    await registry.register(adapter)
    return run, current.model_copy(update={"phase": Phase.EVALUATING, "adapter": name, "snapshot_sha256": snapshot})


async def _evaluate(
    run: ImprovementRun, current: Round, bench: Bench, registry: Adapters
) -> tuple[ImprovementRun, Round]:
    """The new adapter beside its parent, on the data sets of the gate and on those that are only reported."""
    asked, folder = Asked.model_validate(run.asked), bench.of(current)
    for name in (current.parent, current.adapter):
        if name is not None:
            await load(bench.settings, await registry.known(run.model, name))
    base = public_name(bench.settings.model)
    words = ("evaluate", *flags(adapter=current.adapter, compare_with=current.parent or base, seed=asked.seed))
    answers = flags(answers=folder / "answers.jsonl")
    evaluation = await bench.programs.report(
        folder / "evaluation.json", *words, *flags(data=asked.promote_on), *answers
    )
    test = None
    if asked.test:
        test = await bench.programs.report(folder / "test.json", *words, *flags(data=asked.test))
    return run, current.model_copy(update={"phase": Phase.JUDGING, "evaluation": evaluation, "test": test})


async def _judge(run: ImprovementRun, current: Round, bench: Bench, registry: Adapters) -> tuple[ImprovementRun, Round]:
    """The collapse watch, then the gate: promote, or keep the round for the record."""
    evaluation = current.evaluation or {}
    first = bench.folder / "round-1" / "answers.jsonl"
    answers = _answers(bench.of(current) / "answers.jsonl")
    new, parent = evaluation["models"]
    drift = await bench.programs.report(
        bench.of(current) / "drift.json",
        "drift",
        *flags(adapter=bench.adapters / str(current.adapter), answers=first, of=_first_parent(run, evaluation)),
        *flags(limit=PROBE),
    )
    now_is = watch.figures(answers[new]) | {"decided": watch.decided(current.decisions), "kl": float(drift["kl"])}
    was = run.rounds[0].watch_before if run.rounds and run.rounds[0].watch_before else watch.figures(answers[parent])
    if current.number == 1:
        was |= {"decided": watch.decided(current.decisions)}
    verdict = judge(evaluation)
    collapse = watch.passed(was, now_is)
    if collapse is None and verdict.is_promoted:
        await registry.promote(run.model, current.adapter, f"round {current.number} of {run.name}")
    if collapse is not None:
        run = run.model_copy(update={"status": RunStatus.STOPPED, "reason": f"round {current.number}: {collapse}"})
    return run, current.model_copy(
        update={
            "phase": Phase.DONE,
            "watch": now_is,
            "watch_before": was,
            "is_promoted": collapse is None and verdict.is_promoted,
            "reasons": verdict.reasons if collapse is None else (f"collapse: {collapse}", *verdict.reasons),
        }
    )


_STEPS: dict[Phase, Step] = {
    Phase.GENERATING: _generate,
    Phase.TRAINING: _train,
    Phase.EVALUATING: _evaluate,
    Phase.JUDGING: _judge,
}


def _first_parent(run: ImprovementRun, evaluation: dict[str, Any]) -> str:
    """The served name of the policy that the run began with: its answers are the fixed probe set."""
    began = run.rounds[0].evaluation if run.rounds and run.rounds[0].evaluation else evaluation
    return str(began["models"][1])


def _decisions(pairs: Path) -> dict[str, int]:
    lines = pairs.read_text(encoding="utf-8").splitlines()
    decisions = [json.loads(line)["decision"] for line in lines]
    return {decision.value: decisions.count(decision) for decision in Decision}


def _answers(file: Path) -> dict[str, list[str]]:
    """The answers of each model, in order."""
    found: dict[str, list[str]] = {}
    for line in file.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        found.setdefault(row["model"], []).append(row["text"])
    return found


def _show(metrics: Path, view: View) -> None:
    """The last whole line of a training's metrics. There are none before its first steps and after its last, when the
    trainer puts the adapter in place."""
    try:
        written = metrics.read_text(encoding="utf-8")
    except FileNotFoundError:
        return
    lines = written[: written.rfind("\n") + 1].splitlines()
    last: dict[str, Any] = json.loads(lines[-1]) if lines else {}
    if "loss" in last:
        view.progress(
            last["step"], last["of"], f"loss {last['loss']:.3f}, reward accuracy {last['rewards/accuracies']:.2f}"
        )


def _timed(current: Round, phase: Phase, took_s: float) -> Round:
    """The round with the time that a phase took."""
    return current.model_copy(update={"seconds": current.seconds | {phase.value: took_s}})
