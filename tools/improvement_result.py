"""A finished improvement run as a result file: what it was asked, each round's figures and decisions, the machine.

    python -m tools.improvement_result --data-dir DIR --run NAME --setting SETTING

Reads the run from the store in DIR and writes benchmarks/results/improve_SETTING-SEED.json, which `tools.evidence`
makes pages of. Runs of one setting differ in their seed alone.
"""

import argparse
import asyncio
import sys
from collections.abc import Mapping
from typing import Any

from benchmarks.machine import write_result
from pairs.runs import ImprovementRun, Phase, Round, Runs, RunStatus
from pairs.settings import load_settings

Figures = dict[str, dict[str, dict[str, float]]]
"""Of each data set, each figure's value and the bounds of its 95 % interval."""


def result(run: ImprovementRun, setting: str) -> dict[str, Any]:
    """The run in short. Raises ValueError for one that has not ended, or that tested nothing."""
    if run.status is RunStatus.RUNNING or any(one.phase is not Phase.DONE for one in run.rounds):
        raise ValueError(f"The run {run.name} has not ended; go on with it by `judgefree improve --resume`.")
    if not run.rounds or run.rounds[0].test is None:
        raise ValueError(f"The run {run.name} has no figures of test sets; `judgefree improve --test` makes them.")
    first = run.rounds[0]
    return {
        "setting": setting,
        "run": run.name,
        "model": run.model,
        "seed": run.asked["seed"],
        "asked": {name: value for name, value in run.asked.items() if name != "seed"},
        "status": run.status.value,
        "reason": run.reason,
        "base": figures(first.test, of_parent=True),
        "watch_before": first.watch_before,
        "rounds": [_round(one) for one in run.rounds],
    }


def figures(evaluation: Mapping[str, Any] | None, *, of_parent: bool = False) -> Figures:
    """Of the new adapter, or its parent, from what `judgefree evaluate --adapter NEW --compare-with PARENT` wrote."""
    if evaluation is None:
        return {}
    name = evaluation["models"][1 if of_parent else 0]
    return {data["name"]: data["figures"][name]["estimates"] for data in evaluation["data"]}


def _round(one: Round) -> dict[str, Any]:
    kept = one.model_dump(mode="json", include={"number", "parent", "adapter", "decisions", "is_promoted", "reasons"})
    return kept | {
        "watch": one.watch,
        "seconds": {phase: round(took_s, 1) for phase, took_s in one.seconds.items()},
        "promotion": figures(one.evaluation),
        "test": figures(one.test),
    }


async def _read(data_dir: str, name: str) -> ImprovementRun | None:
    runs = await Runs.open(load_settings(data_dir=data_dir).store_url)
    try:
        return await runs.get(name)
    finally:
        await runs.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", required=True, help="the run's folder of everything that is kept")
    parser.add_argument("--run", required=True, help="the run's name")
    parser.add_argument("--setting", required=True, help="what runs that differ in their seed alone are called")
    asked = parser.parse_args()
    run = asyncio.run(_read(asked.data_dir, asked.run))
    if run is None:
        sys.exit(f"There is no run {asked.run} in {asked.data_dir}.")
    try:
        found = result(run, asked.setting)
    except ValueError as error:
        sys.exit(str(error))
    print(write_result("improve", found, f"improve_{asked.setting}-{found['seed']}"))  # noqa: T201 - its result


if __name__ == "__main__":
    main()
