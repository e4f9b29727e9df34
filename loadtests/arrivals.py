"""When images arrive: a rate that changes, shared out among the processes of users so that each image is due once."""

import math
import random
from collections import deque
from typing import TypedDict

_ROUNDING_S = 1e-3


class Segment(TypedDict):
    """A rate, of all processes together, from `since` (seconds since the epoch) until the next segment begins. `due`
    images were due before it, the last of them perhaps in part; of all, each `of`-th from `place` (0 is the first) on
    is this process's."""

    since: float
    per_s: float
    due: float
    place: int
    of: int


class RateSchedule:
    """The head's part: counts what is due, and assigns what comes."""

    def __init__(self) -> None:
        self._since = self._per_s = self._due = 0.0

    def assign(self, per_s: float, since: float, processes: int) -> list[Segment]:
        """Each process's part of the rate from `since` on, which never goes back."""
        self._due += self._per_s * (since - self._since)
        self._since, self._per_s = since, per_s
        return [
            Segment(since=since, per_s=per_s, due=self._due, place=place, of=processes) for place in range(processes)
        ]


class Timetable:
    """A process's part: when each of its images is due.

    Even arrivals are a fixed gap apart, over all processes; a gap in which the rate changes goes on at the new rate. Of
    Poisson arrivals each process has a stream of its own, which together are one of the whole rate.
    """

    def __init__(self, is_even: bool) -> None:
        self._is_even = is_even
        self._coming: deque[Segment] = deque()
        self._segment = Segment(since=0.0, per_s=0.0, due=0.0, place=0, of=1)
        self._number = self._due = math.inf
        self._last_taken = -math.inf

    def add(self, segment: Segment) -> None:
        """Go by this segment once those before it are over: what was due in them stays so."""
        self._coming.append(segment)

    @property
    def due(self) -> float:
        """When the next image is due, by what is known so far; infinity where none is."""
        while self._coming and self._is_past(self._coming[0]):
            self._segment = self._coming.popleft()
            self._go_to(self._first())
        return self._due

    def take(self) -> None:
        """The image that was due has set out."""
        of, self._last_taken = self._segment["of"], self._number
        self._go_to(self._number + (of if self._is_even else random.expovariate(1 / of)))

    def skip_to(self, moment: float) -> None:
        """Leave out what was due before."""
        while self.due < moment:
            self.take()

    def _is_past(self, coming: Segment) -> bool:
        """By number, so that rounding loses no image; by time where a segment before it did not get here."""
        return self._number >= coming["due"] or self._due > coming["since"] + _ROUNDING_S

    def _first(self) -> float:
        """None twice: who hears late that the rate has fallen has taken images beyond `due`, and goes on after them."""
        due, place, of = self._segment["due"], self._segment["place"], self._segment["of"]
        if not self._is_even:
            return max(due, self._last_taken) + random.expovariate(1 / of)  # else the process has no memory
        number = max(math.ceil(due), self._last_taken + 1)
        return number + (place - number) % of

    def _go_to(self, number: float) -> None:
        """`number`: of the next image, among those of all processes."""
        since, per_s, due = self._segment["since"], self._segment["per_s"], self._segment["due"]
        self._number, self._due = number, since + (number - due) / per_s if per_s > 0 else math.inf
