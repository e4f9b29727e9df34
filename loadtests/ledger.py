"""What the users tell of their pairs, and the books kept of it: nothing accepted may be lost or there twice."""

from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypedDict, TypeVar

from loadtests.knee import Level
from loadtests.latency import quantile
from loadtests.pixels import Pixels, is_same

Outcome = Literal["ok", "busy", "error"]
"""Of a request: answered as it should be (a misdeed refused is so), told to come again later, or neither."""


class Arrival(TypedDict):
    """An image is there to be sent; `late_s` is by how much the load generator was behind its own plan."""

    at: float
    late_s: float


class Acceptance(TypedDict):
    """A pair that was acknowledged, for the image at place `place` of the request with idempotency key `key`. `sha256`
    is the gateway's word for it; `pixels` are those that were sent, None where they cannot be known exactly."""

    id: str
    sha256: str
    pixels: Pixels | None
    key: str
    place: int
    at: float
    created_at: str


class Settlement(TypedDict):
    """A pair that a user saw finished (`done` or `failed`), `latency_s` after its image's arrival at `arrived_at`."""

    id: str
    status: str
    at: float
    arrived_at: float
    latency_s: float


class News(TypedDict):
    """What one process of users has to tell since it last did; `sender` numbers them, from 1."""

    sender: str
    number: int
    is_last: bool
    arrivals: list[Arrival]
    acceptances: list[Acceptance]
    settlements: list[Settlement]
    outcomes: dict[Outcome, int]


@dataclass
class Ledger:
    """All pairs of a run. Times are seconds since the epoch, and come in order but for the senders' differences."""

    accepted: dict[str, Acceptance] = field(default_factory=dict)
    settled: dict[str, Settlement] = field(default_factory=dict)
    shared: set[str] = field(default_factory=set)
    """Ids that were acknowledged for two different images."""
    outcomes: Counter[Outcome] = field(default_factory=Counter)
    arrivals: list[Arrival] = field(default_factory=list)
    _acceptances: list[Acceptance] = field(default_factory=list)
    _settlements: list[Settlement] = field(default_factory=list)
    _numbers: dict[str, int] = field(default_factory=dict)
    _ended: set[str] = field(default_factory=set)
    gaps: int = 0
    """How often news of a sender was missing."""

    def take(self, news: News) -> None:
        """Enter what a process of users tells; news that is told twice is entered once."""
        expected = self._numbers.get(news["sender"], 0) + 1
        if news["number"] < expected:
            return
        if news["number"] > expected:
            self.gaps += 1
        self._numbers[news["sender"]] = news["number"]
        if news["is_last"]:
            self._ended.add(news["sender"])
        self.outcomes.update(news["outcomes"])
        for arrival in news["arrivals"]:
            insort(self.arrivals, arrival, key=_moment)
        for acceptance in news["acceptances"]:
            self._accept(acceptance)
        for settlement in news["settlements"]:
            if settlement["id"] not in self.settled:
                self.settled[settlement["id"]] = settlement
                insort(self._settlements, settlement, key=_moment)

    def _accept(self, acceptance: Acceptance) -> None:
        before = self.accepted.setdefault(acceptance["id"], acceptance)
        if before is acceptance:
            insort(self._acceptances, acceptance, key=_moment)
        elif (before["key"], before["place"]) != (acceptance["key"], acceptance["place"]):
            self.shared.add(acceptance["id"])

    @property
    def in_work(self) -> int:
        return len(self.accepted) - len(self.settled)

    @property
    def ended(self) -> int:
        """How many processes of users have told everything."""
        return len(self._ended)

    def arrived(self, since: float, until: float) -> list[Arrival]:
        return _between(self.arrivals, since, until)

    def accepted_between(self, since: float, until: float) -> int:
        return len(_between(self._acceptances, since, until))

    def finished_between(self, since: float, until: float) -> list[Settlement]:
        """What was seen finished then."""
        return _between(self._settlements, since, until)

    def latencies(self, since: float, until: float) -> tuple[list[float], int]:
        """Of the images that arrived then: seconds to the finished pair; and how many have not got there."""
        found = [one["latency_s"] for one in self._settlements if since <= one["arrived_at"] < until]
        return found, max(0, len(self.arrived(since, until)) - len(found))

    def measure(self, offered: float, since: float, until: float) -> Level:
        """What went on between two moments, while `offered` was held; in no time, nothing."""

        def per_s(count: int) -> float:
            return count / (until - since) if until > since else 0.0

        finished = self.finished_between(since, until)
        latencies = [one["latency_s"] for one in finished]
        return Level(
            offered=offered,
            arrived_per_s=per_s(len(self.arrived(since, until))),
            accepted_per_s=per_s(self.accepted_between(since, until)),
            finished_per_s=per_s(len(finished)),
            p50_s=quantile(latencies, 0.5),
            p95_s=quantile(latencies, 0.95),
            in_work=_before(self._acceptances, until) - _before(self._settlements, until),
        )


Timed = TypeVar("Timed", Arrival, Acceptance, Settlement)


def _moment(one: Arrival | Acceptance | Settlement) -> float:
    return one["at"]


def _before(some: Sequence[Timed], moment: float) -> int:
    return bisect_left(some, moment, key=_moment)


def _between(some: list[Timed], since: float, until: float) -> list[Timed]:
    return some[_before(some, since) : _before(some, until)]


@dataclass(frozen=True)
class Found:
    """What the gateway says of an accepted pair after the run; `status` is None where it knows no such pair, `pixels`
    where its image was not fetched."""

    status: str | None
    sha256: str | None = None
    reason: str | None = None
    pixels: Pixels | None = None


@dataclass(frozen=True)
class Integrity:
    """What became of the accepted pairs: ids. `doubled`: acknowledged for two images, or an image's second pair, or
    listed twice; `mixed_up`: the pair has another image than the one it was acknowledged for. `compared`: of so many
    the pixels were held against those that were sent, not the gateway's hashes alone."""

    accepted: int
    lost: tuple[str, ...]
    unfinished: tuple[str, ...]
    failed: Mapping[str, str]
    doubled: tuple[str, ...]
    mixed_up: tuple[str, ...]
    compared: int
    untold: int

    @property
    def is_whole(self) -> bool:
        """Whether every accepted pair is there, once, finished (failed for good with a reason counts as finished), and
        no news of any process of users is missing."""
        return not (self.lost or self.unfinished or self.doubled or self.mixed_up or self.untold)


def check(ledger: Ledger, found: Mapping[str, Found], listed: Iterable[tuple[str, str]], untold: int) -> Integrity:
    """Hold the books against what the gateway says.

    `found` has every accepted id; `listed` is every finished pair since the run began, as (id, sha256 of its image),
    pairs of other clients among them; `untold` counts the processes of users whose news is not complete.
    """
    ours = {one["sha256"]: pair_id for pair_id, one in ledger.accepted.items()}
    times_listed = Counter(pair_id for pair_id, _ in listed)
    second = {pair_id for pair_id, sha256 in listed if sha256 in ours and pair_id not in ledger.accepted}
    twice = {pair_id for pair_id, times in times_listed.items() if times > 1 and pair_id in ledger.accepted}
    same_image = {one_id for one_id, one in ledger.accepted.items() if ours[one["sha256"]] != one_id}
    states = {pair_id: found[pair_id] for pair_id in ledger.accepted}
    known = {pair_id: state for pair_id, state in states.items() if state.status is not None}
    renamed = {one for one, state in known.items() if state.sha256 != ledger.accepted[one]["sha256"]}
    looked_at = {one: _has_what_was_sent(ledger.accepted[one], state) for one, state in known.items()}
    return Integrity(
        accepted=len(states),
        lost=tuple(sorted(states.keys() - known.keys())),
        unfinished=tuple(sorted(one for one, state in known.items() if state.status not in ("done", "failed"))),
        failed={one: state.reason or "no reason given" for one, state in known.items() if state.status == "failed"},
        doubled=tuple(sorted(ledger.shared | second | twice | same_image)),
        mixed_up=tuple(sorted(renamed | {one for one, is_right in looked_at.items() if is_right is False})),
        compared=sum(is_right is not None for is_right in looked_at.values()),
        untold=untold + ledger.gaps,
    )


def _has_what_was_sent(acceptance: Acceptance, found: Found) -> bool | None:
    """None where that is not known."""
    sent = acceptance["pixels"]
    return None if sent is None or found.pixels is None else is_same(sent, found.pixels)
