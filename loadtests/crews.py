"""The users that a level of the load takes: as many posters, or one user in each process, told its share of a rate."""

import math
from typing import Protocol

from locust.runners import MasterRunner, Runner

from loadtests.arrivals import Dealer
from loadtests.session import RATE


class Crew(Protocol):
    def first(self) -> int:
        """How many users have to be there before the load begins."""
        ...

    def put_on(self, level: float, at: float) -> int:
        """Let the level begin; how many users it takes."""
        ...


class Posters:
    """Of a closed load."""

    def first(self) -> int:
        return 0

    def put_on(self, level: float, at: float) -> int:
        return math.ceil(round(level, 6))


class Generators:
    """Of an open load: locust deals users out in turn, so as many of a kind as there are processes are one each."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self._dealer = Dealer()
        self._told: tuple[float, list[str | None]] | None = None

    def first(self) -> int:
        return self._runner.worker_count if isinstance(self._runner, MasterRunner) else 1

    def put_on(self, level: float, at: float) -> int:
        told = (level, self._at_work())
        if told != self._told:  # the rate, or who is there to make it
            self._told = told
            for process, stretch in zip(told[1], self._dealer.deal(level, at, len(told[1])), strict=True):
                self._runner.send_message(RATE, dict(stretch), process)
        return self.first()

    def _at_work(self) -> list[str | None]:
        """The processes that have begun; None is this one."""
        if not isinstance(self._runner, MasterRunner):
            return [None]
        return [*sorted(one.id for one in (*self._runner.clients.spawning, *self._runner.clients.running))]
