"""The figures of two models side by side, as every reader of an evaluation wants them. Pure."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

SHOWN = (("chair_i", "CHAIR_i"), ("f1", "F1"))
"""Where there is room for two."""


@dataclass(frozen=True)
class Estimate:
    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f}"


@dataclass(frozen=True)
class Change:
    """Figures of the parent and of the new model, by name; a task may lack one: yes/no questions have no CHAIR."""

    before: Mapping[str, Estimate]
    after: Mapping[str, Estimate]

    def of(self, name: str) -> tuple[Estimate, Estimate] | None:
        return (self.before[name], self.after[name]) if name in self.before else None

    def said(self, name: str) -> str:
        """`0.210 -> 0.169`; a dash where there is no such figure."""
        found = self.of(name)
        return "-" if found is None else f"{found[0]} -> {found[1]}"


def changes(evaluation: Mapping[str, Any] | None) -> Iterator[tuple[str, Change]]:
    """Each data set of `judgefree evaluate --compare-with`, by its name, with its figures."""
    if evaluation is not None:
        new, parent = evaluation["models"]
        for data in evaluation["data"]:
            yield data["name"], change_of(data["figures"][new], data["figures"][parent])


def change_of(new: Mapping[str, Any], parent: Mapping[str, Any]) -> Change:
    before, after = (
        {name: Estimate(**found) for name, found in figures["estimates"].items()} for figures in (parent, new)
    )
    return Change(before, after)
