"""An ablation's findings for machines and for people: JSON, Markdown, tables in the terminal."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from judgefree.ablation.cells import Asked
from judgefree.ablation.figures import SHOWN, Rows, Spread, report, tables
from judgefree.ablation.machine import describe_machine
from judgefree.mistakes import Mistake
from pairs.clock import now

_ABOUT = (
    "Each row is the default with one factor changed, trained on {pairs} pairs in {steps} steps, seeds {seeds}. "
    "`right` is the share of pairs whose chosen answer is the better one by ground truth; the figures are differences "
    "to the base ({base}), mean ± standard deviation over seeds; `s` is what one trial took in seconds, its share of "
    "the pairs' making included where it made them."
)


def findings(asked: Asked, results: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What the result file holds: what was asked, on what machine, the cells' summaries, every trial."""
    return {
        "benchmark": "ablation",
        "measured_at": now().isoformat(timespec="seconds"),
        "asked": asked.model_dump(mode="json"),
        **report(results),
        "trials": list(results),
        "machine": describe_machine(),
    }


def write(found: Mapping[str, Any], out: Path) -> Path:
    """Write the JSON to `out` and the tables beside it as Markdown; returns the latter. Raises Mistake."""
    beside = out.with_suffix(".md")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
        beside.write_text(markdown(found), encoding="utf-8")
    except OSError as error:
        raise Mistake(f"{out} cannot be written: {error.strerror}.") from error
    return beside


def markdown(found: Mapping[str, Any]) -> str:
    """The tables, each under its factor's name."""
    parts = [about(found)]
    for one in tables(found):
        lines = [one.headings, ("---",) * len(one.headings), *one.rows]
        parts.append("\n".join("| " + " | ".join(line) + " |" for line in lines))
    return "\n\n".join(parts) + "\n"


def about(found: Mapping[str, Any]) -> str:
    """What the tables show, in one paragraph."""
    cells = list(found["cells"].values())
    base = (
        f"{label} {Spread(**data[figure]['base']).mean:.3f} on {name}"
        for name, data in cells[0]["data"].items()
        for figure, label in SHOWN.items()
    )
    seeds = ", ".join(map(str, sorted({seed for cell in cells for seed in cell["seeds"]})))
    pairs, steps = (", ".join(map(str, sorted({cell[name] for cell in cells}))) for name in ("pairs", "steps"))
    return _ABOUT.format(pairs=pairs, steps=steps, seeds=seeds, base=", ".join(base))


def shown(found: Mapping[str, Any]) -> Iterator[Table]:
    """The tables for the terminal."""
    for one in tables(found):
        yield _table(one)


def _table(one: Rows) -> Table:
    table = Table(box=SIMPLE_HEAD)
    for heading in one.headings:
        lines = heading.replace(" ", "\n") if heading != one.title else heading
        table.add_column(lines, justify="left" if heading == one.title else "right", no_wrap=True)
    for row in one.rows:
        table.add_row(*row)
    return table
