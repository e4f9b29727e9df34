"""What an ablation found: each cell's figures over its seeds, and the tables of them. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import mean, stdev
from typing import Any

from judgefree.ablation.cells import CELLS, FACTORS, Cell

SHOWN = {"chair_i": "CHAIR_i", "f1": "F1"}
"""The figures of the tables; the JSON has all of them."""
NONE = "-"


@dataclass(frozen=True)
class Spread:
    """Mean and standard deviation (n - 1) over seeds; the latter is None for one seed."""

    mean: float
    std: float | None

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        return cls(mean(values), stdev(values) if len(values) > 1 else None)

    def said(self, sign: str = "") -> str:
        deviation = "" if self.std is None else f" ± {self.std:.3f}"
        return f"{self.mean:{sign}.3f}{deviation}"


def figures_of(evaluation: Mapping[str, Any]) -> dict[str, dict[str, dict[str, float]]]:
    """Of each data set, each figure of the adapter and of the base.

    `evaluation` is the JSON of `judgefree evaluate --adapter NEW --compare-with BASE`; its intervals, over images, are
    left out, since what counts here is the spread over seeds.
    """
    new, base = evaluation["models"]
    return {
        data["name"]: {
            figure: {"adapter": one["value"], "base": data["figures"][base]["estimates"][figure]["value"]}
            for figure, one in data["figures"][new]["estimates"].items()
        }
        for data in evaluation["data"]
    }


def summary(results: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """One cell's results over its seeds: `pairs` and `steps`, the same in each; `right`, `seconds` (a trial's mean) and
    of each data set and figure the adapter's, the base's, and their difference, as mean and standard deviation.

    Raises ValueError for no results.
    """
    data = {
        name: {figure: _spreads([result["data"][name][figure] for result in results]) for figure in figures}
        for name, figures in results[0]["data"].items()
    }
    rights = [result["right"] for result in results if result["right"] is not None]
    return {
        "seeds": [result["seed"] for result in results],
        "pairs": results[0]["pairs"],
        "steps": results[0]["steps"],
        "images": mean(sum(result["decisions"].values()) for result in results),
        "right": _said(Spread.of(rights)) if rights else None,
        "seconds": {name: mean(result["seconds"][name] for result in results) for name in results[0]["seconds"]},
        "data": data,
    }


def _spreads(values: Sequence[Mapping[str, float]]) -> dict[str, dict[str, float | None]]:
    adapter, base = ([one[whose] for one in values] for whose in ("adapter", "base"))
    difference = [ours - theirs for ours, theirs in zip(adapter, base, strict=True)]
    return {
        name: _said(Spread.of(found))
        for name, found in (("adapter", adapter), ("base", base), ("difference", difference))
    }


def _said(spread: Spread) -> dict[str, float | None]:
    return {"mean": spread.mean, "std": spread.std}


def report(results: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The summary of every cell that has results, and what the cells are; `results` themselves are kept beside it."""
    by_cell: dict[str, list[Mapping[str, Any]]] = {}
    for result in results:
        by_cell.setdefault(result["cell"], []).append(result)
    cells = {name: _about(CELLS[name]) | summary(found) for name, found in by_cell.items()}
    return {"factors": {factor: dict(members) for factor, members in FACTORS.items()}, "cells": cells}


def _about(cell: Cell) -> dict[str, Any]:
    fields = cell.pool.fields.model_dump(mode="json", exclude_none=True)
    return {
        "injection": fields,
        "scorer": cell.pool.scorer,
        "arrangement": cell.arrangement,
        "train": list(cell.train),
    }


@dataclass(frozen=True)
class Rows:
    """One factor's table: a title, the columns' headings, and a row a cell."""

    title: str
    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def tables(found: Mapping[str, Any]) -> Iterator[Rows]:
    """A table for each factor of which more than one cell has results."""
    cells: Mapping[str, Any] = found["cells"]
    for factor, members in found["factors"].items():
        present = {name: said for name, said in members.items() if name in cells}
        if len(present) > 1:
            rows = tuple((said, *_row(cells[name])) for name, said in present.items())
            names = next(iter(cells.values()))["data"]
            figures = (f"{_short(name)} {said}" for name in names for said in SHOWN.values())
            yield Rows(factor, (factor, "right", *figures, "s"), rows)


def _row(cell: Mapping[str, Any]) -> Iterator[str]:
    """The share of right pairs, the differences to the base, and what a trial took in seconds."""
    yield NONE if cell["right"] is None else Spread(**cell["right"]).said()
    for figures in cell["data"].values():
        for figure in SHOWN:
            yield Spread(**figures[figure]["difference"]).said("+")
    yield f"{sum(cell['seconds'].values()):.0f}"


def _short(data: str) -> str:
    """A data set's name without what it is drawn by."""
    return data.split(":")[1] if data.count(":") > 1 else data
