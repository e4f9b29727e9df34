"""Which replica takes the next pair, and which of several models counts: pure functions on what is known just now."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple

from service.mllm import Served


class Load(NamedTuple):
    """A replica as it stands: whether it can take pairs, and how many of this gateway's are in work there."""

    name: str
    is_ready: bool
    in_work: int


def choose(loads: Iterable[Load], most: int, last: str) -> str | None:
    """The ready replica with the fewest pairs in work, if these are below `most`; among equals the next after `last`.

    The order of `loads` does not matter. None where every ready replica is full, or none is ready.
    """
    able = [one for one in loads if one.is_ready and one.in_work < most]
    return min(able, key=lambda one: (one.in_work, one.name <= last, one.name)).name if able else None


def prevailing(models: Sequence[str], current: str | None) -> str | None:
    """The model that most replicas serve; among equals the `current` one, else the first. None where there is none."""
    counts = Counter(models)
    most = max(counts.values(), default=0)
    leading = [model for model, count in counts.items() if count == most]
    return current if current in leading else next(iter(leading), None)


def common(each: Sequence[Served]) -> Served:
    """What every one of the replicas serves: the shortest of their contexts, the adapters that all of them have."""
    adapters = frozenset.intersection(*(one.adapters for one in each))
    return replace(each[0], max_model_len=min(one.max_model_len for one in each), adapters=adapters)
