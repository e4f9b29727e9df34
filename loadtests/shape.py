"""The course of a profile as locust asks for it: how many users there are now."""

from locust import LoadTestShape
from locust.runners import Runner

from loadtests.courses import Course, Start
from loadtests.ledger import Ledger
from loadtests.load import Load
from pairs.clock import now

SPAWN_RATE = 100.0
"""Users a second; locust warns above it."""


class ProfileShape(LoadTestShape):
    """`load` has the users that make it; `beside`: users that are there all the time. The course begins once the
    load's initial users are there. Times are seconds since the epoch, `current` is the level now."""

    def __init__(self, course: Course, ledger: Ledger, runner: Runner, load: Load, beside: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._course, self._ledger, self._runner, self._load, self._beside = course, ledger, runner, load, beside
        self._start = Start()
        self.began_at = self.ended_at = now().timestamp()
        self.current = 0.0
        self.is_broken_off = False

    def tick(self) -> tuple[int, float] | None:
        self.ended_at = now().timestamp()
        if self.is_broken_off:
            return None
        if not self._start.has_begun:
            self.began_at = self.ended_at
            if not self._start.look(self.ended_at, self._are_users_there()):
                return self._beside + self._load.initial_users(), SPAWN_RATE
        level = self._course.level(self.ended_at, self._ledger)
        if level is None:
            return None
        self.current = level
        return self._beside + self._load.set_level(level, self.ended_at), SPAWN_RATE

    def _are_users_there(self) -> bool:
        wanted = self._load.initial_users()
        return wanted == 0 or self._runner.user_count >= self._beside + wanted
