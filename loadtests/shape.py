"""The course of a profile as locust asks for it: how many users there are now."""

from locust import LoadTestShape
from locust.runners import Runner

from loadtests.courses import Course
from loadtests.crews import Crew
from loadtests.ledger import Ledger
from pairs.clock import now

SPAWN_RATE = 100.0
"""Users a second; locust warns above it."""
_PATIENCE_S = 30.0
"""Then the load begins without the users that have not come; what their process lacks is told at the end."""


class ProfileShape(LoadTestShape):
    """`crew`: the users that make the load; `beside`: users that are there all the time. The course begins once the
    crew's first ones are there. Times are seconds since the epoch, `current` is the level now."""

    def __init__(self, course: Course, ledger: Ledger, runner: Runner, crew: Crew, beside: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._course, self._ledger, self._runner, self._crew, self._beside = course, ledger, runner, crew, beside
        self._asked_at = self.began_at = self.ended_at = now().timestamp()
        self.current = 0.0
        self.is_broken_off = False
        self._has_begun = False

    def tick(self) -> tuple[int, float] | None:
        self.ended_at = now().timestamp()
        if self.is_broken_off:
            return None
        if not self._has_begun:
            self.began_at = self.ended_at
            if self._is_awaiting_users():
                return self._beside + self._crew.first(), SPAWN_RATE
            self._has_begun = True
        level = self._course.level(self.ended_at, self._ledger)
        if level is None:
            return None
        self.current = level
        return self._beside + self._crew.put_on(level, self.ended_at), SPAWN_RATE

    def _is_awaiting_users(self) -> bool:
        first, is_patient = self._crew.first(), self.ended_at - self._asked_at < _PATIENCE_S
        return first > 0 and is_patient and self._runner.user_count < self._beside + first
