"""The queue as the gateway's statistics show it, once a second."""

import gevent

from loadtests.gateway import Gateway
from loadtests.ledger import Ledger
from loadtests.samples import Sample
from pairs.clock import now

EVERY_S = 1.0


class Sampler:
    """Samples, and in `missed` how often the statistics were asked for in vain."""

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
