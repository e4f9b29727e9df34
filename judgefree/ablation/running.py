"""The trials of an ablation: a pool of pairs, an adapter trained on it, its evaluation; each written down when done."""

import asyncio
import json
import os
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from judgefree.ablation.cells import Asked, Cell, Pool, Trial, fields_of, missing
from judgefree.ablation.figures import figures_of
from judgefree.ablation.serving import served
from judgefree.client import Client
from judgefree.improvement.asked import Asked as Round
from judgefree.improvement.images import images_of
from judgefree.improvement.programs import Programs, flags
from judgefree.ledger import Ledger
from judgefree.mistakes import Mistake, PartFailed
from judgefree.submission import submit_all
from pairs.settings import Settings, public_name

CONCURRENCY = 64
TIMEOUT_S = 600.0
PAIRS = "pairs.jsonl"
LISTING = "images.jsonl"
"""Beside images whose objects are known (docs/evaluation.md); rendered scenes have it."""


class View(Protocol):
    """Who is told how an ablation goes on."""

    def phase(self, trial: Trial, said: str) -> None: ...

    def progress(self, done: int, total: int) -> None: ...

    def finished(self, trial: Trial, result: dict[str, Any]) -> None: ...

    def left_out(self, trial: Trial, reason: str) -> None: ...


@dataclass(frozen=True)
class Folder:
    """Where an ablation's things are: `plan.json`, pools, adapters, and for each trial what came of it."""

    root: Path

    def hold(self, asked: Asked) -> None:
        """Begin, or go on with, what was asked here. Raises Mistake where something else was."""
        plan = self.root / "plan.json"
        if plan.exists() and Asked.model_validate_json(plan.read_bytes()) != asked:
            raise Mistake(f"Another ablation is in {self.root}; go on with its flags, or choose another --name.")
        self.root.mkdir(parents=True, exist_ok=True)
        _write(plan, asked.model_dump(mode="json"))

    def pool(self, pool: Pool, seed: int) -> Path:
        return self._made("pools", f"{pool.name}-{seed}")

    def trial(self, trial: Trial) -> Path:
        return self._made("trials", trial.name)

    def result(self, trial: Trial) -> dict[str, Any] | None:
        """What came of a trial; None while it is not done."""
        file = self.root / "trials" / trial.name / "result.json"
        if not file.exists():
            return None
        found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        return found

    def _made(self, *names: str) -> Path:
        folder = self.root.joinpath(*names)
        folder.mkdir(parents=True, exist_ok=True)
        return folder


@dataclass(frozen=True)
class Bench:
    """What the trials of one scorer work with."""

    settings: Settings
    asked: Asked
    folder: Folder
    client: Client
    programs: Programs
    view: View


async def run(trials: Sequence[Trial], bench: Bench) -> None:
    """Bring every trial to its end. One whose pool has too few pairs of its arrangement is left out, with the reason.

    Raises PartFailed where a part or a program fails; run again, it goes on.
    """
    for trial in trials:
        if bench.folder.result(trial) is not None:
            continue
        bench.view.phase(trial, "making pairs")
        sharing = [one.cell for one in trials if (one.cell.pool, one.seed) == (trial.cell.pool, trial.seed)]
        began = time.monotonic()
        decisions = await asyncio.to_thread(_fill, trial, sharing, bench)
        if missing(decisions, [trial.cell], bench.asked.count):
            bench.view.left_out(trial, f"only {decisions} in {bench.asked.most} images")
            continue
        result = await _finish(trial, decisions, time.monotonic() - began, bench)
        await asyncio.to_thread(_write, bench.folder.trial(trial) / "result.json", result)
        bench.view.finished(trial, result)


async def _finish(trial: Trial, decisions: dict[str, int], generating_s: float, bench: Bench) -> dict[str, Any]:
    """Train, evaluate, and hold the pairs against the truth where it is known."""
    began = time.monotonic()
    bench.view.phase(trial, "training")
    adapter = await _train(trial, bench)
    trained = time.monotonic()
    bench.view.phase(trial, "evaluating")
    evaluation = await _evaluate(trial, adapter, bench)
    evaluated = time.monotonic()
    right = await _right(trial, bench, sum(decisions.values()))
    facts = await asyncio.to_thread(_read, adapter / "training.json")
    return {
        "cell": trial.cell.name,
        "seed": trial.seed,
        "pairs": facts["snapshot"]["count"],
        "steps": facts["steps"],
        "decisions": decisions,
        "right": right,
        "seconds": {
            "generating": generating_s,
            "training": trained - began,
            "evaluating": evaluated - trained,
        },
        "data": figures_of(evaluation),
    }


def _fill(trial: Trial, sharing: Sequence[Cell], bench: Bench) -> dict[str, int]:
    """Make pairs, a portion of `count` images at a time, until every cell that shares the pool has enough; returns the
    pool's decisions. The images are the same for every pool of a seed."""
    asked, images = bench.asked, _images(trial, bench)
    fields = fields_of(trial.cell.pool, asked, trial.seed)
    file = bench.folder.pool(trial.cell.pool, trial.seed) / PAIRS
    for start in range(0, len(images), asked.count):
        portion = images[start : start + asked.count]
        with Ledger(file) as ledger:
            for done, outcome in enumerate(
                submit_all(bench.client, portion, fields, ledger, CONCURRENCY, TIMEOUT_S), start + 1
            ):
                if outcome.reason is not None:
                    raise PartFailed(f"{outcome.file} made no pair: {outcome.reason}")
                bench.view.progress(done, start + len(portion))
        decisions = _decisions(file)
        if not missing(decisions, sharing, asked.count):
            break
    return decisions


async def _train(trial: Trial, bench: Bench) -> Path:
    """The trial's adapter, trained on exactly as many pairs as are asked for."""
    adapters, count = bench.folder.root / "adapters", trial.cell.pairs(bench.asked.count)
    words = flags(
        name=trial.name,
        out=adapters,
        model=bench.settings.model,
        pairs=bench.folder.pool(trial.cell.pool, trial.seed) / PAIRS,
        arrange=trial.cell.arrangement,
        count=count,
        least=count,
        held_out=0,
        seed=trial.seed,
    )
    metrics = adapters / ".unfinished" / trial.name / "metrics.jsonl"
    every = (*bench.asked.train, *words, *trial.cell.train)  # of a flag that is given twice the last one counts
    await bench.programs.run("train", *every, tick=lambda: _show(metrics, bench.view))
    return adapters / trial.name


async def _evaluate(trial: Trial, adapter: Path, bench: Bench) -> dict[str, Any]:
    """The adapter beside the base, on the test sets."""
    name = f"ablation-{bench.folder.root.name}-{trial.name}"
    async with served(bench.settings, name, adapter):
        return await bench.programs.report(
            bench.folder.trial(trial) / "evaluation.json",
            "evaluate",
            *flags(adapter=name, compare_with=public_name(bench.settings.model)),
            *flags(data=bench.asked.test, seed=trial.seed),
        )


async def _right(trial: Trial, bench: Bench, pairs: int) -> float | None:
    """The share of the pairs that the arrangement takes of the pool, of which the trial's are a draw, whose chosen
    answer is the better one; None where no list of objects lies beside the images."""
    folder = bench.folder.pool(trial.cell.pool, trial.seed)
    scenes = (await asyncio.to_thread(_images, trial, bench))[0].parent
    if not (scenes / LISTING).exists():
        return None
    how = trial.cell.arrangement
    known = folder / f"{how}-{pairs}.json"  # cells share it, while the pool does not grow
    if not known.exists():
        words = flags(pairs=folder / PAIRS, arrange=how, data=scenes, seed=trial.seed)
        await bench.programs.report(known, "evaluate", *words)
    found = await asyncio.to_thread(_read, known)
    share: float = found["data"][0]["figures"]["estimates"]["accuracy_after"]["value"]
    return share


def _images(trial: Trial, bench: Bench) -> list[Path]:
    """The images of a seed, the same for every pool."""
    asked = bench.asked
    wanted = Round(images=asked.images, count=asked.most, seed=trial.seed)
    return images_of(wanted, 1, bench.settings.data_dir / "scenes")


def _decisions(pairs: Path) -> dict[str, int]:
    lines = pairs.read_text(encoding="utf-8").splitlines()
    return dict(Counter(json.loads(line)["decision"] for line in lines))


def _show(metrics: Path, view: View) -> None:
    """How far a training is, by the last line of its metrics."""
    lines = metrics.read_text(encoding="utf-8").splitlines() if metrics.exists() else []
    last: dict[str, Any] = json.loads(lines[-1]) if lines else {}
    if "loss" in last:
        view.progress(last["step"], last["of"])


def _read(file: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return found


def _write(file: Path, result: dict[str, Any]) -> None:
    """All at once: a result that is there is whole."""
    partial = file.with_name(f".{file.name}.{os.getpid()}")
    partial.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    partial.replace(file)
