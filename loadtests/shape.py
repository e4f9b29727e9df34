"""The course of a profile as locust asks for it: how many users there are now."""

import math

from locust import LoadTestShape

from loadtests.courses import Course
from loadtests.ledger import Ledger
from pairs.clock import now

SPAWN_RATE = 100.0
"""Users a second; locust warns above it."""


class ProfileShape(LoadTestShape):
    """`users_per_level`: users that make one unit of the load (one poster, or the arrivals of one second); `beside`:
    users that are there all the time. Times are seconds since the epoch, `current` is the level now."""

    def __init__(self, course: Course, ledger: Ledger, users_per_level: float, beside: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._course, self._ledger = course, ledger
        self._users_per_level, self._beside = users_per_level, beside
        self.began_at = self.ended_at = now().timestamp()
        self.current = 0.0
        self.is_broken_off = False
        self._has_begun = False

    def tick(self) -> tuple[int, float] | None:
        self.ended_at = now().timestamp()
        if not self._has_begun:
            self._has_begun, self.began_at = True, self.ended_at
        level = None if self.is_broken_off else self._course.level(self.ended_at, self._ledger)
        if level is None:
            return None
        self.current = level
        return self._beside + math.ceil(round(level * self._users_per_level, 6)), SPAWN_RATE
