"""When a part is started, started again, or given up: a state machine without clock or process."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from signal import Signals
from types import MappingProxyType

REFUSAL = 2
"""The exit code with which a part says that its settings or its model are wrong: starting it again is no use."""


class Phase(StrEnum):
    WAITING = "waiting"
    STARTING = "starting"
    READY = "ready"
    BACKING_OFF = "backing off"
    GIVEN_UP = "given up"


class Event(StrEnum):
    """What befalls a part; `CALLED`: what it needs is ready, or its back-off is over."""

    CALLED = "called"
    ANSWERED = "answered"
    STEADIED = "steadied"
    DIED = "died"
    REFUSED = "refused"


NEXT: Mapping[tuple[Phase, Event], Phase] = MappingProxyType(
    {
        (Phase.WAITING, Event.CALLED): Phase.STARTING,
        (Phase.STARTING, Event.ANSWERED): Phase.READY,
        (Phase.STARTING, Event.DIED): Phase.BACKING_OFF,
        (Phase.STARTING, Event.REFUSED): Phase.GIVEN_UP,
        (Phase.READY, Event.STEADIED): Phase.READY,
        (Phase.READY, Event.DIED): Phase.BACKING_OFF,
        (Phase.BACKING_OFF, Event.CALLED): Phase.STARTING,
    }
)


@dataclass(frozen=True)
class Policy:
    """Back-off doubles from `first_delay_s` to `longest_delay_s`; a part that dies `most_deaths` times in a row and
    was never ready is given up; one that was ready for `steady_s` starts its count anew. Told to end, a part has
    `grace_s` before it is killed."""

    first_delay_s: float = 0.5
    longest_delay_s: float = 30.0
    most_deaths: int = 3
    steady_s: float = 60.0
    grace_s: float = 15.0


@dataclass(frozen=True)
class Course:
    """Where a part is in its life: its phase, how often it died in a row, and whether it was ever ready."""

    phase: Phase = Phase.WAITING
    deaths: int = 0
    has_been_ready: bool = False


def step(course: Course, event: Event) -> Course:
    """The course after `event`; raises KeyError for an event that cannot befall a part in this phase."""
    phase = NEXT[course.phase, event]
    match event:
        case Event.ANSWERED:
            return replace(course, phase=phase, has_been_ready=True)
        case Event.STEADIED:
            return replace(course, phase=phase, deaths=0)
        case Event.DIED | Event.REFUSED:
            return replace(course, phase=phase, deaths=course.deaths + 1)
        case Event.CALLED:
            return replace(course, phase=phase)


def end_of(course: Course, exit_code: int, policy: Policy) -> Event:
    """What the end of a part's process with `exit_code` is: a death, or a refusal that no new start would mend."""
    if course.phase is not Phase.STARTING or course.has_been_ready:
        return Event.DIED
    is_worn_out = course.deaths + 1 >= policy.most_deaths
    return Event.REFUSED if exit_code == REFUSAL or is_worn_out else Event.DIED


def signal_name(number: int) -> str:
    """The name of the signal that ended a process, such as SIGKILL."""
    return next((one.name for one in Signals if one == number), f"signal {number}")


def delay_s(course: Course, policy: Policy) -> float:
    """How long to wait before the next start, in seconds."""
    doublings = min(max(course.deaths - 1, 0), 63)  # past that a float is infinite, and the bound holds anyway
    return min(policy.longest_delay_s, policy.first_delay_s * 2.0**doublings)
