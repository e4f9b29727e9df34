"""Open and closed load on locust: a user in each process, told its share of a rate, or as many posters as the level."""

import math
from typing import Protocol

from locust.runners import MasterRunner, Runner

from loadtests.arrivals import RateSchedule
from loadtests.session import RATE


class Load(Protocol):
    def initial_users(self) -> int:
        """How many users have to be there before the load begins."""
        ...

    def set_level(self, level: float, at: float) -> int:
        """Let the level begin; how many users it takes."""
        ...


class ClosedLoad:
    """Posters, as many as the level says."""

    def initial_users(self) -> int:
        return 0

    def set_level(self, level: float, at: float) -> int:
        return math.ceil(round(level, 6))


class OpenLoad:
    """A rate. Locust places users in turn, so as many of a kind as there are processes are one each."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self._schedule = RateSchedule()
        self._told: tuple[float, list[str | None]] | None = None

    def initial_users(self) -> int:
        return self._runner.worker_count if isinstance(self._runner, MasterRunner) else 1

    def set_level(self, level: float, at: float) -> int:
        told = (level, self._at_work())
        if told != self._told:  # the rate, or who is there to make it
            self._told = told
            for process, segment in zip(told[1], self._schedule.assign(level, at, len(told[1])), strict=True):
                self._runner.send_message(RATE, dict(segment), process)
        return self.initial_users()

    def _at_work(self) -> list[str | None]:
        """The processes that have begun; None is this one."""
        if not isinstance(self._runner, MasterRunner):
            return [None]
        return [*sorted(one.id for one in (*self._runner.clients.spawning, *self._runner.clients.running))]
