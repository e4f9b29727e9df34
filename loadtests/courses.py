"""How much load there is at each moment: the shapes of a profile, as state machines over what has been seen."""

from typing import Protocol

from loadtests.knee import Level, next_level
from loadtests.profiles import Burst, Profile, Ramp, Soak, Steady, Unit

NEWS_DELAY_S = 1.5
"""What happened is known here at the latest after this long: the users' processes tell twice a second."""


PATIENCE_S = 30.0
"""Then the load begins without the users that have not come; what their process lacks is told at the end."""


class Seen(Protocol):
    """What the load test knows of its pairs so far; times are seconds since the epoch."""

    def measure(self, offered: float, since: float, until: float) -> Level: ...

    @property
    def in_work(self) -> int: ...


class Course(Protocol):
    """The level now (arrivals/s, or posters), or None once the load is over. `now` never goes back."""

    def level(self, now: float, seen: Seen) -> float | None: ...


class Start:
    """Before the course: waits for the users that make the load, at most PATIENCE_S from the first look on."""

    def __init__(self) -> None:
        self._first_look: float | None = None
        self.has_begun = False

    def look(self, now: float, are_users_there: bool) -> bool:
        """Whether the load has begun; once it has, it stays so, also if users leave."""
        self._first_look = now if self._first_look is None else self._first_look
        self.has_begun = self.has_begun or are_users_there or now - self._first_look >= PATIENCE_S
        return self.has_begun


class Constant:
    """One level, from the first look on, for `duration_s`."""

    def __init__(self, shape: Steady | Soak) -> None:
        self._shape = shape
        self._began: float | None = None

    def level(self, now: float, seen: Seen) -> float | None:
        self._began = now if self._began is None else self._began
        return self._shape.level if now - self._began < self._shape.duration_s else None


class Bursts:
    """Base, peak, base, peak, ..., base. `peaks` has when each burst begins and ends, from the first look on."""

    def __init__(self, shape: Burst) -> None:
        self._shape = shape
        self._began: float | None = None
        self.peaks: list[tuple[float, float]] = []

    def level(self, now: float, seen: Seen) -> float | None:
        shape = self._shape
        if self._began is None:
            self._began = now
            period_s = shape.every_s + shape.lasting_s
            starts = [now + shape.every_s + number * period_s for number in range(shape.bursts)]
            self.peaks = [(start, start + shape.lasting_s) for start in starts]
        if now >= self.peaks[-1][1] + shape.every_s:
            return None
        return shape.peak if any(start <= now < end for start, end in self.peaks) else shape.base


class Climb:
    """A ramp: hold, measure, go on; after a level that was too much, wait until its pairs are done."""

    def __init__(self, shape: Ramp, load: Unit, drain_s: float) -> None:
        self._shape, self._load, self._drain_s = shape, load, drain_s
        self._wanted: float = shape.start
        self._held_since: float | None = None
        self._draining_since: float | None = None
        self.levels: list[Level] = []

    def level(self, now: float, seen: Seen) -> float | None:
        if self._draining_since is not None:
            if seen.in_work > 0 and now - self._draining_since < self._drain_s:
                return 0
            self._draining_since = None
        if self._held_since is None:
            self._held_since = now
        if now - self._held_since < self._shape.hold_s + NEWS_DELAY_S:
            return self._wanted
        return self._measured(now, self._held_since, seen)

    def _measured(self, now: float, since: float, seen: Seen) -> float | None:
        found = seen.measure(self._wanted, since + self._shape.settle_s, now - NEWS_DELAY_S)
        self.levels.append(found)
        wanted = next_level(self.levels, self._shape, self._load)
        if wanted is None:
            return None
        is_down = wanted < self._wanted
        self._wanted, self._held_since = wanted, None if is_down else now
        self._draining_since = now if is_down else None
        return 0 if is_down else wanted


def course_of(profile: Profile) -> Constant | Bursts | Climb:
    """The course that a profile's shape describes."""
    match profile.shape:
        case Burst() as shape:
            return Bursts(shape)
        case Ramp() as shape:
            return Climb(shape, profile.load, profile.drain_s)
        case shape:
            return Constant(shape)
