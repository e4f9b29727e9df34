"""The page of evidence is what the tool makes of the result files; and what it says of a run is so."""

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from pairs.clock import now
from pairs.runs import ImprovementRun, Phase, Round, RunStatus
from tools.evidence import DOCS, RESULTS, page
from tools.improvement_result import result

TEST = "demo:theme_breaking:500:20000"
MACHINE = {"cores": 2, "processor": "a processor"}


def evaluation(new: str, parent: str, chair_i: dict[str, float]) -> dict[str, Any]:
    """What `judgefree evaluate` writes of two models, F1 one less CHAIR_i, every interval 0.01 to each side."""

    def estimates(value: float) -> dict[str, Any]:
        values = {"chair_i": value, "f1": 1 - value, "mean_words": 30.0}
        return {name: {"value": one, "low": one - 0.01, "high": one + 0.01} for name, one in values.items()}

    figures = {name: {"units": 500, "estimates": estimates(chair_i[name])} for name in (new, parent)}
    return {"models": [new, parent], "data": [{"name": TEST, "figures": figures}]}


@pytest.fixture
def run() -> ImprovementRun:
    """Two rounds: 0.30 to 0.24, promoted, and then to 0.35, which was not."""
    chair_i = {"demo": 0.30, "r-1": 0.24, "r-2": 0.35}
    rounds = [
        Round(
            number=number,
            parent=None if parent == "demo" else parent,
            phase=Phase.DONE,
            decisions={"kept": 50, "swapped": 10, "discarded": 40},
            adapter=new,
            evaluation=evaluation(new, parent, chair_i),
            test=evaluation(new, parent, chair_i),
            watch={"mean_words": 29.0, "distinct_2": 0.5, "repetition": 0.0, "kl": 0.1},
            watch_before={"mean_words": 30.0, "distinct_2": 0.5, "repetition": 0.0},
            is_promoted=new == "r-1",
            seconds={"training": 60.0, "generating": 120.0},
        )
        for number, (new, parent) in enumerate([("r-1", "demo"), ("r-2", "r-1")], start=1)
    ]
    return ImprovementRun(
        name="r",
        model="demo",
        asked={"rounds": 2, "count": 100, "seed": 3, "test": [TEST]},
        rounds=tuple(rounds),
        status=RunStatus.DONE,
        created_at=now(),
    )


def test_the_page_in_the_docs_is_what_the_results_say() -> None:
    made = page(RESULTS)
    plots = {f"images/{path.name}" for path in (DOCS / "images").glob("evidence-*.svg")}
    assert plots == made.keys() - {"evidence.md"}
    for name, text in made.items():
        assert (DOCS / name).read_text(encoding="utf-8") == text, "run `python -m tools.evidence` again"


def test_a_run_is_told_round_by_round(run: ImprovementRun, tmp_path: Path) -> None:
    found = result(run, "published") | {"machine": MACHINE}
    (tmp_path / "improve_published-3.json").write_text(json.dumps(found))
    made = page(tmp_path)
    said = made["evidence.md"]
    assert "| demo:theme_breaking | 0 | 1 | 0.300 | 0.700 | 30.000 |" in said
    assert "| demo:theme_breaking | 1 | 1 | 0.240 | 0.760 | 30.000 |" in said
    assert "| demo:theme_breaking | 2 | 1 | 0.240 | 0.760 | 30.000 |" in said  # the second was not promoted
    [row] = [line for line in said.splitlines() if line.startswith("| demo:theme_breaking | 3 | 0.300 [")]
    assert "| -20% | -20% |" in row
    assert row.endswith("| +0.060 | yes | 1 of 2 |")
    assert "| 3 | 1 | 29.000 | 0.500 | 0.000 | 0.100 | 50 / 10 / 40 |" in said
    assert "A run took 6 minutes on 2 cores" in said
    ElementTree.fromstring(made["images/evidence-published.svg"])


def test_a_run_that_goes_on_is_no_evidence(run: ImprovementRun) -> None:
    with pytest.raises(ValueError, match="has not ended"):
        result(run.model_copy(update={"status": RunStatus.RUNNING}), "published")
    untested = run.with_round(run.rounds[0].model_copy(update={"test": None}))
    with pytest.raises(ValueError, match="no figures of test sets"):
        result(untested, "published")
