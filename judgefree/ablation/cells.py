"""What is compared: cells, each the default with one factor changed, and the order in which they are run. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from judgefree.client import Fields
from judgefree.improvement.asked import POOL
from judgefree.mistakes import Mistake
from pairs.adapters import BASE
from pairs.model import RATIO_MIN, GroundingMethod, Method, Ratio, Value

Scorer = Literal["sentence", "phrase"]
Arrangement = Literal["verified", "keep", "swap", "off", "random"]
"""Rules of `judgefree train --arrange`."""

TEST = ("demo:in_distribution:300:20000", "demo:theme_breaking:300:20000")
THRESHOLDS: Mapping[Scorer, float] = {"sentence": 0.03, "phrase": 0.02}
"""Margins past which about as many pairs of the demo world are decided under either scorer (docs/method.md)."""
DEFAULT = "default"


@dataclass(frozen=True)
class Pool:
    """Pairs that several cells share: made once for each seed by `fields`, verified under `scorer`."""

    name: str
    fields: Fields
    scorer: Scorer = "sentence"


@dataclass(frozen=True)
class Cell:
    """One setting of the method: whose pairs it is trained on, how they are arranged, further flags of `train`, and on
    how many pairs, where it is not on as many as every other cell."""

    name: str
    pool: Pool
    arrangement: Arrangement = "verified"
    train: tuple[str, ...] = ()
    count: int | None = None

    def pairs(self, count: int) -> int:
        """How many pairs it is trained on, where every other cell has `count`."""
        return self.count or count


@dataclass(frozen=True)
class Trial:
    """A cell under one seed: of the scenes, the pairs, the draw among them, the adapter and the order."""

    cell: Cell
    seed: int

    @property
    def name(self) -> str:
        return f"{self.cell.name}-{self.seed}"


def _fixed(ratio: float) -> Pool:
    return Pool(f"h-{ratio:.2f}", Fields(method=Method.BLEND, ratio=ratio))


def _drawn(method: Method, scorer: Scorer = "sentence") -> Pool:
    name = method.value if scorer == "sentence" else scorer
    return Pool(name, Fields(method=method), scorer)


_DEFAULT = _drawn(Method.BLEND)
_TWICE = Pool("twice", Fields(method=Method.BLEND, ratio=0.0, temperature=1.0))
_SIZES = {f"pairs-{count}": count for count in (64, 128, 256, 512, 1024, 2048, 4096)}

CELLS: Mapping[str, Cell] = {
    cell.name: cell
    for cell in (
        Cell(DEFAULT, _DEFAULT),
        Cell("drop", Pool("drop", Fields(method=Method.DROP))),
        Cell("noise", _drawn(Method.NOISE)),
        Cell("prompt", Pool("prompt", Fields(method=Method.PROMPT))),
        Cell("random", _DEFAULT, "random"),
        Cell("twice", _TWICE),
        Cell("off", _DEFAULT, "off"),
        Cell("keep", _DEFAULT, "keep"),
        Cell("swap", _DEFAULT, "swap"),
        Cell("phrase", _drawn(Method.BLEND, "phrase")),
        Cell("h-0.25", _fixed(0.25)),
        Cell("h-0.50", _fixed(0.5)),
        Cell("h-0.75", _fixed(0.75)),
        Cell("h-1.00", _fixed(1.0)),
        Cell("margin", _DEFAULT, train=("--margin-gamma", "0.5")),
        Cell("plain", _DEFAULT, train=("--nll-weight", "0")),
        *(Cell(name, _DEFAULT, count=count) for name, count in _SIZES.items()),
    )
}
"""Every cell once, by name."""

FACTORS: Mapping[str, Mapping[str, str]] = {
    "injection": {
        DEFAULT: "blend",
        "drop": "image dropped",
        "noise": "image under noise",
        "prompt": "misleading prompt",
        "random": "another image's answer",
        "twice": "sampled twice",
    },
    "verification": {
        "off": "off",
        "keep": "keep only",
        "swap": "swap, no discarding",
        DEFAULT: "swap and discard",
    },
    "score": {DEFAULT: "sentence", "phrase": "phrase (F-CLIPScore)"},
    "ratio h": {
        "h-0.25": "0.25",
        "h-0.50": "0.50",
        "h-0.75": "0.75",
        "h-1.00": "1.00",
        DEFAULT: "drawn, Gaussian",
    },
    "loss": {DEFAULT: "DPO + NLL", "margin": "margin-aware DPO + NLL", "plain": "DPO"},
    "number of pairs": {name: f"{count:,}" for name, count in _SIZES.items()},
}
"""The tables: of each factor its cells in order, with what they are called there."""

SENSITIVITY = tuple(_SIZES)
"""The default on ever more pairs, in ever more steps."""
EQUAL = tuple(name for name in CELLS if name not in SENSITIVITY)
"""Cells that are all trained on as many pairs, in as many steps."""
REDUCED = (DEFAULT, "drop", "random", "off", "keep", "phrase", "margin")


class Asked(Value):
    """What is asked of an ablation: written down with it, and the same when it goes on.

    Every cell trains on exactly `count` pairs, or its own number; its pool is made of as many of `most` images as that
    takes. `images` is WORLD:SPLIT, or paths of one's own. Where h is drawn, it is from N(`ratio_mean`, `ratio_std`).
    With `grounding_ratio` (h < 0) the normal answers are decoded by contrast, but where two answers are sampled alike.
    `train` are further flags of `judgefree train`, the same for every cell.
    """

    count: Annotated[int, Field(ge=8)] = 512
    most: Annotated[int, Field(ge=8)] = 4096
    images: tuple[str, ...] = (POOL,)
    test: tuple[str, ...] = TEST
    train: tuple[str, ...] = ()
    ratio_mean: Ratio = 0.5
    ratio_std: Annotated[float, Field(ge=0, le=2)] = 0.15
    grounding_ratio: Annotated[float, Field(ge=RATIO_MIN, lt=0)] | None = None


def fields_of(pool: Pool, asked: Asked, seed: int) -> Fields:
    """What is asked of the gateway for the pairs of a pool: of the model as it is, under `seed`."""
    changes: dict[str, object] = {"seed": seed, "adapter": BASE}
    if pool.fields.ratio is None and pool.fields.method in (Method.BLEND, Method.NOISE):
        changes |= {"ratio_mean": asked.ratio_mean, "ratio_std": asked.ratio_std}
    if asked.grounding_ratio is not None and pool != _TWICE:
        changes |= {"grounding": GroundingMethod.CONTRASTIVE, "grounding_ratio": asked.grounding_ratio}
    return pool.fields.model_copy(update=changes)


def trials(names: Sequence[str], seeds: int) -> Iterator[Trial]:
    """Every trial once: by scorer, which needs a stack of its own, then by seed, then as CELLS has them.

    So cells that share a pool follow each other, and a run that is ended early has whole seeds. Raises Mistake for a
    name that is no cell's.
    """
    unknown = [name for name in names if name not in CELLS]
    if unknown:
        raise Mistake(f"There is no cell {unknown[0]}; there are {', '.join(CELLS)}.")
    wanted = [cell for cell in CELLS.values() if cell.name in names]
    for scorer in THRESHOLDS:
        for seed in range(seeds):
            yield from (Trial(cell, seed) for cell in wanted if cell.pool.scorer == scorer)


def usable(decisions: Mapping[str, int], how: Arrangement) -> int:
    """At least how many pairs an arrangement takes of a pool with these decisions.

    Pairs that were discarded as undecided are usable where nothing is discarded, but a pool does not tell them here
    from those that were discarded for what their answers are.
    """
    kept = decisions.get("kept", 0)
    decided = kept + decisions.get("swapped", 0)
    match how:
        case "keep":
            return kept
        case "random":
            return max(0, decided - 1)
    return decided


def missing(decisions: Mapping[str, int], cells: Sequence[Cell], count: int) -> list[Cell]:
    """The cells that cannot train yet on `count` pairs of the pool, or on their own number."""
    return [cell for cell in cells if usable(decisions, cell.arrangement) < cell.pairs(count)]
