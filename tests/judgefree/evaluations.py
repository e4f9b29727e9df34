"""What `judgefree evaluate --compare-with` writes, and rounds and runs with it, as plain values for tests."""

from collections.abc import Mapping
from typing import Any

from judgefree.improvement.asked import Asked
from pairs.clock import now
from pairs.runs import ImprovementRun, Phase, Round

NAMES = ("precision", "recall", "f1", "chair_i", "chair_s", "mean_words", "truncated")


def an_interval(value: float, within: float = 0.01) -> dict[str, float]:
    return {"value": value, "low": value - within, "high": value + within}


def a_data_set(
    name: str, new: str, parent: str, ours: Mapping[str, float], theirs: Mapping[str, float], within: float = 0.01
) -> dict[str, Any]:
    """A data set's part: figures of both models, every difference with an interval of `within` about it."""
    figures = {
        model: {"units": 12, "estimates": {figure: an_interval(value) for figure, value in found.items()}}
        for model, found in ((new, ours), (parent, theirs))
    }
    differences = {figure: an_interval(ours[figure] - theirs[figure], within) for figure in ours}
    return {"name": name, "unit": "images", "figures": figures, "comparison": {"units": 12, "differences": differences}}


def some_figures(chair_i: float, f1: float = 0.7, mean_words: float = 30.0) -> dict[str, float]:
    return dict.fromkeys(NAMES, 0.5) | {"chair_i": chair_i, "f1": f1, "mean_words": mean_words}


def an_evaluation(new: str, parent: str, ours: float, theirs: float, *names: str) -> dict[str, Any]:
    """An evaluation in which CHAIR_i goes from `theirs` to `ours` on each of the data sets."""
    data = [a_data_set(name, new, parent, some_figures(ours), some_figures(theirs)) for name in names]
    return {"models": [new, parent], "data": data}


def a_round(number: int, parent: str | None, ours: float, theirs: float, is_promoted: bool = True) -> Round:
    new = f"first-{number}"
    figures = {"mean_words": 30.0, "distinct_2": 0.2, "repetition": 0.1, "decided": 0.6}
    return Round(
        number=number,
        parent=parent,
        phase=Phase.DONE,
        decisions={"kept": 10, "swapped": 4, "discarded": 6},
        adapter=new,
        snapshot_sha256="0" * 64,
        evaluation=an_evaluation(new, parent or "tiny", ours, theirs, "scenes", "others"),
        test=an_evaluation(new, parent or "tiny", ours, theirs, "unseen"),
        watch=figures | {"kl": 0.1},
        watch_before=figures,
        is_promoted=is_promoted,
        reasons=("CHAIR_i is better on scenes: -0.1",) if is_promoted else ("F1 is worse on others: -0.1",),
        seconds={"generating": 61.0, "training": 5.0, "evaluating": 4.0, "judging": 1.5},
    )


def a_run(*rounds: Round, **changes: Any) -> ImprovementRun:
    asked = Asked(rounds=3, test=("unseen",), promote_on=("scenes", "others")).model_dump(mode="json")
    run = ImprovementRun(name="first", model="tiny", asked=asked, rounds=rounds, created_at=now())
    return run.model_copy(update=changes)
