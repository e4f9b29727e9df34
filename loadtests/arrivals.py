"""When images arrive: a rate that changes, dealt out among the processes of users so that each image is due once."""

import math
import random
from collections import deque
from typing import TypedDict

_ROUNDING_S = 1e-3


class Stretch(TypedDict):
    """A rate, of all processes together, from `since` (seconds since the epoch) until the next stretch begins. `due`
    images were due before it, the last of them perhaps in part; of all, each `of`-th from `place` (0 is the first) on
    is this process's."""

    since: float
    per_s: float
    due: float
    place: int
    of: int


class Dealer:
    """The head's part: counts what is due, and deals out what comes."""

    def __init__(self) -> None:
        self._since = self._per_s = self._due = 0.0

    def deal(self, per_s: float, since: float, processes: int) -> list[Stretch]:
        """Each process's part of the rate from `since` on, which never goes back."""
        self._due += self._per_s * (since - self._since)
        self._since, self._per_s = since, per_s
        return [
            Stretch(since=since, per_s=per_s, due=self._due, place=place, of=processes) for place in range(processes)
        ]


class Timetable:
    """A process's part: when each of its images is due.

    Even arrivals are a fixed gap apart, over all processes; a gap in which the rate changes goes on at the new rate. Of
    Poisson arrivals each process has a stream of its own, which together are one of the whole rate.
    """

    def __init__(self, is_even: bool) -> None:
        self._is_even = is_even
        self._coming: deque[Stretch] = deque()
        self._stretch = Stretch(since=0.0, per_s=0.0, due=0.0, place=0, of=1)
        self._number = self._due = math.inf

    def add(self, stretch: Stretch) -> None:
        """Go by this stretch once those before it are over: what was due in them stays so."""
        self._coming.append(stretch)

    @property
    def due(self) -> float:
        """When the next image is due, by what is known so far; infinity where none is."""
        while self._coming and self._is_past(self._coming[0]):
            self._stretch = self._coming.popleft()
            self._go_to(self._first())
        return self._due

    def take(self) -> None:
        """The image that was due has set out."""
        of = self._stretch["of"]
        self._go_to(self._number + (of if self._is_even else random.expovariate(1 / of)))

    def skip_to(self, moment: float) -> None:
        """Leave out what was due before."""
        while self.due < moment:
            self.take()

    def _is_past(self, coming: Stretch) -> bool:
        """By number, so that rounding loses no image; by time where a stretch before it did not get here."""
        return self._number >= coming["due"] or self._due > coming["since"] + _ROUNDING_S

    def _first(self) -> float:
        due, place, of = self._stretch["due"], self._stretch["place"], self._stretch["of"]
        if not self._is_even:
            return due + random.expovariate(1 / of)  # whatever came before: the process has no memory
        number = math.ceil(due)
        return number + (place - number) % of

    def _go_to(self, number: float) -> None:
        """`number`: of the next image, among those of all processes."""
        since, per_s, due = self._stretch["since"], self._stretch["per_s"], self._stretch["due"]
        self._number, self._due = number, since + (number - due) / per_s if per_s > 0 else math.inf
