"""The queue as the gateway's statistics show it, once a second."""

from dataclasses import asdict, dataclass
from typing import Any

import gevent

from loadtests.gateway import Gateway
from loadtests.ledger import Ledger
from pairs.clock import now

EVERY_S = 1.0


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


class Sampler:
    """Samples, and how often the statistics were asked for in vain."""

    def __init__(self, gateway: Gateway, ledger: Ledger) -> None:
        self._gateway, self._ledger = gateway, ledger
        self.samples: list[Sample] = []
        self.missed = 0

    def run(self) -> None:
        """Take samples for ever."""
        while True:
            self.look()
            gevent.sleep(EVERY_S)

    def look(self) -> None:
        answer = self._gateway.ask("GET", "/v1/stats", name="/v1/stats")
        if answer.outcome != "ok":
            self.missed += 1
            return
        queue: dict[str, int] = answer.body["queue"]
        counts = {name: queue[name] for name in ("jobs", "candidates", "dead")}
        finished = answer.body["finished"]
        self.samples.append(Sample(now().timestamp(), **counts, finished=finished, in_work=self._ledger.in_work))


def series(samples: list[Sample], since: float) -> list[dict[str, Any]]:
    """The samples with times in seconds after `since`."""
    return [asdict(one) | {"at": round(one.at - since, 1)} for one in samples]
