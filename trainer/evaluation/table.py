"""Results for people: tables with a row a figure, each with its interval."""

from collections.abc import Iterable

from rich.box import SIMPLE_HEAD
from rich.console import Group
from rich.table import Table
from rich.text import Text

from trainer.evaluation.shares import Difference, Estimate, Figures
from trainer.evaluation.task import Result
from trainer.evaluation.verification import Verification

_LABELS = {
    "f1": "F1",
    "chair_i": "CHAIR_i",
    "chair_s": "CHAIR_s",
    "accuracy_before": "right before",
    "accuracy_after": "right after",
}
_NOTHING = "–"
"""For a share of no pairs."""
_BY = ("accuracy_before", "accuracy_after", "swap_precision", "swap_recall", "discarded")


def result_table(result: Result) -> Group:
    """Figures by model; of two models also the first minus the second, and in how many resamples that is above 0."""
    units = next(iter(result.figures.values())).units
    table = _table("", *result.figures)
    if result.comparison is not None:
        table.add_column("difference", justify="right")
        table.add_column("above 0", justify="right")
    for name in next(iter(result.figures.values())).estimates:
        cells = [_estimate(name, figures[name]) for figures in result.figures.values()]
        if result.comparison is not None:
            cells += [_difference(name, result.comparison[name]), f"{result.comparison[name].above:.0%}"]
        table.add_row(_label(name), *cells)
    return _titled(f"{result.name}: {units} {result.unit}", table)


def verification_tables(name: str, found: Verification) -> Iterable[Group]:
    """All pairs, the pairs by hallucination ratio, and by threshold."""
    whole = _table("", "all pairs")
    for figure, one in found.figures.estimates.items():
        whole.add_row(_label(figure), _NOTHING if figure in found.figures.of_nothing else _estimate(figure, one))
    if found.roc is not None:
        whole.add_row("margin's AUC", _estimate("auc", found.roc.auc))
    yield _titled(f"{name}: {found.pairs} pairs about {found.figures.units} images", whole)
    if found.by_ratio:
        by_ratio = _table("h", "pairs", *map(_label, _BY))
        for bin_ in found.by_ratio:
            span = f"{bin_.low:.2f}" if bin_.low == bin_.high else f"{bin_.low:.2f}–{bin_.high:.2f}"
            by_ratio.add_row(span, str(bin_.pairs), *_values(bin_.figures))
        yield _titled("by hallucination ratio h", by_ratio)
    by_threshold = _table("threshold", *map(_label, _BY))
    for at in found.by_threshold:
        by_threshold.add_row(f"{at.threshold:.3g}", *_values(at.figures))
    yield _titled("by threshold of the margin", by_threshold)


def _titled(title: str, table: Table) -> Group:
    """A table's own title would be broken at the table's width."""
    return Group(Text(title), table)


def _table(first: str, *others: str) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column(first, no_wrap=True)
    for other in others:
        table.add_column(other, justify="right")
    return table


def _label(name: str) -> str:
    return _LABELS.get(name, name.replace("_", " "))


def _values(figures: Figures) -> list[str]:
    return [_NOTHING if name in figures.of_nothing else f"{figures[name].value:.3f}" for name in _BY]


def _places(name: str) -> int:
    return 1 if name == "mean_words" else 3


def _estimate(name: str, one: Estimate) -> str:
    places = _places(name)
    return f"{one.value:.{places}f} [{one.low:.{places}f}, {one.high:.{places}f}]"


def _difference(name: str, one: Difference) -> str:
    places = _places(name)
    return f"{one.value:+.{places}f} [{one.low:+.{places}f}, {one.high:+.{places}f}]"
