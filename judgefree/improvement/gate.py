"""Whether a round's adapter takes the place of its parent: pure, from what `judgefree evaluate` said of the two."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

LEAST_LENGTH = 0.8
"""Share of its parent's words that an adapter must keep: a model that says nothing never hallucinates."""


@dataclass(frozen=True)
class Verdict:
    is_promoted: bool
    reasons: tuple[str, ...]


def judge(evaluation: Mapping[str, Any]) -> Verdict:
    """Promote unless F1 is worse, beyond its 95 % interval, on a data set, or the answers got much shorter, or CHAIR_i
    is better, beyond its interval, on none.

    `evaluation` is the JSON of `judgefree evaluate --adapter NEW --compare-with PARENT`; differences are new - parent.
    What a data set has no figure of, as yes/no questions have no CHAIR and no words, is left out there.
    """
    against, better = [], []
    new, parent = evaluation["models"]
    for data in evaluation["data"]:
        name, differences = data["name"], data["comparison"]["differences"]
        f1, chair_i = differences["f1"], differences.get("chair_i")
        if f1["high"] < 0:
            against.append(f"F1 is worse on {name}: {_signed(f1)}")
        ours, theirs = (data["figures"][model]["estimates"].get("mean_words") for model in (new, parent))
        if ours is not None and ours["value"] < LEAST_LENGTH * theirs["value"]:
            against.append(f"answers on {name} fell from {theirs['value']:.1f} to {ours['value']:.1f} words")
        if chair_i is not None and chair_i["high"] < 0:
            better.append(f"CHAIR_i is better on {name}: {_signed(chair_i)}")
    if not better:
        against.append("CHAIR_i is better, beyond its interval, on no data set")
    return Verdict(not against, tuple(against or better))


def _signed(difference: Mapping[str, float]) -> str:
    return f"{difference['value']:+.3f} ({difference['low']:+.3f} to {difference['high']:+.3f})"
