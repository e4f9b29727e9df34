"""Scores preference pairs about rendered scenes against what really stands in them.

How ties count. An answer is measured by its object precision, then, where that is equal, by its object F1. A pair
whose two answers are equal in both is *undecided* and enters neither accuracy. `before` is the share of decided pairs,
of every decision, whose normal answer is the better one; `after` the share of decided pairs among kept and swapped ones
whose chosen answer is the better one. A share of no pairs is null. An answer that mentions no object has precision 1
and F1 0 (where anything stands in the scene): saying nothing is never wrong.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from demo.metrics import caption_figures, object_score
from pairs.metrics import is_better

DECISIONS = ("kept", "swapped", "discarded")


class BadInputError(ValueError):
    """A file of scenes or pairs that cannot be scored; the message names the file, the line and the matter."""


@dataclass(frozen=True)
class ScoredPair:
    """The texts of one pair; `chosen` and `rejected` are None in a discarded one."""

    file: str
    decision: str
    normal: str
    injected: str
    chosen: str | None
    rejected: str | None


def read_scenes(folder: Path) -> dict[str, frozenset[str]]:
    """The objects in each rendered file of a folder, by file name, from its `scenes.jsonl`.

    Raises BadInputError where that is missing or not what `demo render` writes.
    """
    objects: dict[str, frozenset[str]] = {}
    for where, row in _rows(folder / "scenes.jsonl"):
        try:
            objects[row["file"]] = frozenset(f"{thing['colour']} {thing['shape']}" for thing in row["objects"])
        except (KeyError, TypeError) as error:
            raise BadInputError(f"{where}: not a scene as `demo render` writes it ({error!r})") from error
    return objects


def read_pairs(file: Path) -> list[ScoredPair]:
    """Pairs in the public JSON shape, one a line, each with `file`, the name of its scene's file.

    Raises BadInputError on the first line that is not such a pair.
    """
    return [_pair_of(where, row) for where, row in _rows(file)]


def _pair_of(where: str, row: dict[str, Any]) -> ScoredPair:
    try:
        normal, injected = (row["answers"][role]["text"] for role in ("normal", "injected"))
        pair = ScoredPair(row["file"], row["decision"], normal, injected, row.get("chosen"), row.get("rejected"))
    except (KeyError, TypeError) as error:
        raise BadInputError(f"{where}: not a finished pair with a `file` ({error!r})") from error
    if pair.decision not in DECISIONS:
        raise BadInputError(f"{where}: decision is {pair.decision!r}, not one of {', '.join(DECISIONS)}")
    needed: list[str | None] = [pair.file, pair.normal, pair.injected]
    needed += [] if pair.decision == "discarded" else [pair.chosen, pair.rejected]
    if not all(isinstance(text, str) for text in needed):
        raise BadInputError(f"{where}: file, answers, and chosen and rejected of a {pair.decision} pair must be text")
    return pair


def _rows(file: Path) -> Iterable[tuple[str, dict[str, Any]]]:
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise BadInputError(f"cannot read {file}: {error.strerror}") from error
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        where = f"{file.name}, line {number}"
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise BadInputError(f"{where}: not JSON ({error.msg})") from error
        if not isinstance(row, dict):
            raise BadInputError(f"{where}: a JSON object is wanted, not {type(row).__name__}")
        yield where, row


def score_pairs(pairs: list[ScoredPair], scenes: Mapping[str, frozenset[str]]) -> dict[str, Any]:
    """Counts, pair accuracy before and after verification, and object figures of the four kinds of answer.

    Raises BadInputError for a pair about a file that is no scene of these.
    """
    strangers = sorted({pair.file for pair in pairs} - set(scenes))
    if strangers:
        raise BadInputError(f"{len(strangers)} files are not among the scenes, the first is {strangers[0]}")
    verified = [pair for pair in pairs if pair.decision != "discarded"]
    before = [_is_better(pair.normal, pair.injected, scenes[pair.file]) for pair in pairs]
    after = [_is_better(str(pair.chosen), str(pair.rejected), scenes[pair.file]) for pair in verified]
    present, present_verified = ([scenes[pair.file] for pair in some] for some in (pairs, verified))
    return {
        "pairs": len(pairs),
        **{decision: sum(pair.decision == decision for pair in pairs) for decision in DECISIONS},
        "pair_accuracy": {"before": _accuracy(before), "after": _accuracy(after)},
        "decided_pairs": {"before": _decided(before), "after": _decided(after)},
        "answers": {
            "normal": asdict(caption_figures([pair.normal for pair in pairs], present)),
            "injected": asdict(caption_figures([pair.injected for pair in pairs], present)),
            "chosen": asdict(caption_figures([str(pair.chosen) for pair in verified], present_verified)),
            "rejected": asdict(caption_figures([str(pair.rejected) for pair in verified], present_verified)),
        },
    }


def _is_better(text: str, other: str, present: frozenset[str]) -> bool | None:
    return is_better(object_score(text, present), object_score(other, present))


def _decided(verdicts: list[bool | None]) -> int:
    return sum(verdict is not None for verdict in verdicts)


def _accuracy(verdicts: list[bool | None]) -> float | None:
    return sum(verdict is True for verdict in verdicts) / _decided(verdicts) if _decided(verdicts) else None
