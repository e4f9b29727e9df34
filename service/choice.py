"""Which replica takes the next pair, and which of several models counts: pure functions on what is known just now."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Final, Literal, NamedTuple

from service.mllm import Served

State = Literal["ready", "failing", "away", "leaving", "other_model"]
"""A replica is well; or well, and its last pair failed; or does not answer, is about to go, or serves another model."""
RESTS_S: Final = (0.5, 1.0, 2.0, 4.0, 8.0)
"""How long a replica rests after its first failure in a row, its second, and so on; the last for any after it."""


class Form(NamedTuple):
    """How a replica did of late: its failures since a pair last came out of it, and until when it rests after them."""

    failures: int = 0
    rests_until_s: float = 0.0

    def after_failure(self, before: "Form", now_s: float) -> "Form":
        """The form once a pair failed that was begun in form `before`; those that were in work together count once."""
        if self.failures > before.failures:
            return self
        return Form(self.failures + 1, now_s + RESTS_S[min(self.failures, len(RESTS_S) - 1)])


class Load(NamedTuple):
    """A replica as it stands: whether it can take pairs, how many of this gateway's are in work there, how many failed
    in a row, and whether it rests after them."""

    name: str
    is_ready: bool
    in_work: int
    failures: int = 0
    is_resting: bool = False


def choose(loads: Iterable[Load], most: int, last: str) -> str | None:
    """The ready replica with the fewest pairs in work, if these are below `most`; among equals the next after `last`.

    One that fails at once would always be the least busy. So it gets none while it rests, unless all do: then the one
    that failed least. And until a pair comes out of it, it gets one at a time.

    The order of `loads` does not matter. None where every ready replica is full, or none is ready.
    """
    ready = [one for one in loads if one.is_ready]
    awake = [one for one in ready if not one.is_resting]
    able = [one for one in awake or ready if one.in_work < (1 if one.failures else most)]
    fewest = min(
        able, key=lambda one: (0 if awake else one.failures, one.in_work, one.name <= last, one.name), default=None
    )
    return None if fewest is None else fewest.name


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
