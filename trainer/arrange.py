"""Arrangements: the same finished pairs under another rule of which answer is the chosen one, for ablations."""

import json
from collections import deque
from collections.abc import Iterable, Iterator
from enum import StrEnum
from pathlib import Path

from pairs.errors import JudgefreeError
from pairs.model import VERDICT_OF, Answers, Decision, DiscardReason, Pair, settle

_LOOKS_BACK = 8
"""Pairs among which a random negative is looked for: few, since only the same text twice in a row stands against it."""

Named = tuple[str | None, Pair]
"""A pair, and the name of the file of its image where it is known."""


class UnreadablePairs(JudgefreeError):
    type, title = "unreadable-pairs", "The pairs cannot be read"


class Arrangement(StrEnum):
    """`verified`: as the verifier decided. `keep`: what it kept, and no swaps. `swap`: by the sign of the margin, with
    nothing discarded. `off`: the normal answer is chosen, whatever the margin. `random`: the normal answer is chosen
    over the normal answer to another image."""

    VERIFIED = "verified"
    KEEP = "keep"
    SWAP = "swap"
    OFF = "off"
    RANDOM = "random"


def arranged(pair: Pair, how: Arrangement, others: Iterable[Pair] = ()) -> Pair | None:
    """`pair` decided anew by the rule `how`, or None where that makes no preference of it. Pure.

    A pair that was discarded for what its answers are (equal, empty, cut off) is a preference under no rule; a person's
    review does not count. `others` are the pairs of which `random` takes the first with another image and another
    normal answer; such a pair has no margin, since nobody measured it.
    """
    if not is_fit(pair) or pair.answers is None:
        return None
    if how is Arrangement.RANDOM:
        mine = pair.answers.normal.text
        for other in others:
            if other.answers is not None and other.image != pair.image and other.answers.normal.text != mine:
                answers = Answers(normal=pair.answers.normal, injected=other.answers.normal)
                return _decided(pair.model_copy(update={"answers": answers, "margin": None}), Decision.KEPT)
        return None
    decision = _decision(pair, how)
    return None if decision is Decision.DISCARDED else _decided(pair, decision)


def is_fit(pair: Pair) -> bool:
    """Whether the pair has two different, whole answers."""
    return pair.answers is not None and pair.reason in (None, DiscardReason.WITHIN_THRESHOLD)


def arrange(pairs: Iterable[Named], how: Arrangement) -> Iterator[Named]:
    """The pairs that the rule makes preferences of, in their order; the same for the same pairs in the same order.

    Memory does not grow with their number. Random negatives come from the pairs just before, so the first has none.
    """
    before: deque[Pair] = deque(maxlen=_LOOKS_BACK)
    for file, pair in pairs:
        if (found := arranged(pair, how, before)) is not None:
            yield file, found
        if is_fit(pair):
            before.appendleft(pair)


def read_finished(path: Path) -> Iterator[Named]:
    """The pairs of a JSON-lines file that `judgefree submit` wrote. Raises UnreadablePairs."""
    try:
        with path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                where = f"{path}, line {number}"
                row = json.loads(line)
                file = row.pop("file", None)
                yield file, Pair.model_validate(row)
    except OSError as error:
        raise UnreadablePairs(f"{path} cannot be read: {error.strerror}.") from error
    except (ValueError, AttributeError) as error:
        raise UnreadablePairs(f"{where} is not a pair as `judgefree submit` writes it.") from error


def _decision(pair: Pair, how: Arrangement) -> Decision:
    match how:
        case Arrangement.VERIFIED:
            return pair.decision or Decision.DISCARDED
        case Arrangement.KEEP:
            return Decision.KEPT if pair.decision is Decision.KEPT else Decision.DISCARDED
        case Arrangement.SWAP if pair.margin:
            return Decision.KEPT if pair.margin > 0 else Decision.SWAPPED
        case Arrangement.OFF:
            return Decision.KEPT
    return Decision.DISCARDED


def _decided(pair: Pair, decision: Decision) -> Pair:
    assert pair.answers is not None
    chosen, rejected = settle(pair.answers.normal.text, pair.answers.injected.text, VERDICT_OF[decision])
    changes = {"decision": decision, "reason": None, "review": None, "chosen": chosen, "rejected": rejected}
    return pair.model_copy(update=changes)
