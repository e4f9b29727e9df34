"""Results for people: a table a data set, a row a figure, each with its interval."""

from rich.box import SIMPLE_HEAD
from rich.table import Table

from trainer.evaluation.shares import Difference, Estimate
from trainer.evaluation.task import Result

_LABELS = {"f1": "F1", "chair_i": "CHAIR_i", "chair_s": "CHAIR_s", "mean_words": "mean words", "yes_ratio": "yes ratio"}


def result_table(result: Result) -> Table:
    """Figures by model; of two models also the first minus the second, and in how many resamples that is above 0."""
    units = next(iter(result.figures.values())).units
    table = Table(box=SIMPLE_HEAD, title=f"{result.name}, {units} {result.unit}", title_justify="left")
    table.add_column("")
    for model in result.figures:
        table.add_column(model, justify="right")
    if result.comparison is not None:
        table.add_column("difference", justify="right")
        table.add_column("above 0", justify="right")
    for name in next(iter(result.figures.values())).estimates:
        cells = [_estimate(name, figures[name]) for figures in result.figures.values()]
        if result.comparison is not None:
            cells += [_difference(name, result.comparison[name]), f"{result.comparison[name].above:.0%}"]
        table.add_row(_LABELS.get(name, name), *cells)
    return table


def _places(name: str) -> int:
    return 1 if name == "mean_words" else 3


def _estimate(name: str, one: Estimate) -> str:
    places = _places(name)
    return f"{one.value:.{places}f} [{one.low:.{places}f}, {one.high:.{places}f}]"


def _difference(name: str, one: Difference) -> str:
    places = _places(name)
    return f"{one.value:+.{places}f} [{one.low:+.{places}f}, {one.high:+.{places}f}]"
