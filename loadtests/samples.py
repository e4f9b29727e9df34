"""The depth of the queue over time."""

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Sample:
    """`jobs` wait for the model or are with it, `candidates` wait for the verifier or are with it, `dead` failed for
    good; `finished` counts all pairs in the store. `in_work` are this run's, as its users know them."""

    at: float
    jobs: int
    candidates: int
    dead: int
    finished: int
    in_work: int


def series(samples: list[Sample], since: float) -> list[dict[str, Any]]:
    """The samples with times in seconds after `since`."""
    return [asdict(one) | {"at": round(one.at - since, 1)} for one in samples]
