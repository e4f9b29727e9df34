"""The way of a pair under `autoscaler.step`, second by second: jobs, generation, candidates, verification. Pure.

Every gateway has so many pairs in generation at each vLLM that is ready; verifiers take what comes of them. Numbers of
pairs are not whole: each second does its share.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

from tools.scaling.autoscaler import Scaling, State, Trigger, acts, step

GATEWAY, MLLM, VERIFIER = "gateway", "mllm", "verifier"
PARTS: Final = (GATEWAY, MLLM, VERIFIER)
SCRAPE_S: Final = 15
"""How often Prometheus looks; what it says in between is as old."""
FULL_S: Final = 120
"""For how long jobs must have waited, so that each vLLM was full."""
STILL_S: Final = 180
"""For how long no vLLM may have come or gone, so that their number is that of those that made what was made."""
LOOK_S: Final = 60
"""How often it is looked whether they are full."""
SEEN_S: Final = 6 * 3600
"""How long what a full vLLM makes is remembered."""
_REQUESTS_OF_A_PAIR = 3
_BY_A_FULL_ONE = "made by a full vLLM"


@dataclass(frozen=True)
class Capacity:
    """What one replica can do, and how long after its start (`start_s`, by part)."""

    paired_per_s: float
    """Pairs that a gateway can see through generation in a second."""
    generated_per_s: float
    """Pairs that a vLLM makes in a second when it has `in_flight` in work; with fewer, as many fewer."""
    in_flight: int
    verified_per_s: float
    concurrency: int
    """Pairs in generation at a time at each vLLM, per gateway."""
    ahead: int
    """Jobs that a gateway has taken beyond those."""
    seats: int
    """Pairs that a vLLM runs at a time; the requests of others wait in it."""
    held: int
    """Candidates that a verifier has taken."""
    start_s: Mapping[str, int]

    @property
    def pair_s(self) -> float:
        """How long a pair is in generation, at least."""
        return self.in_flight / self.generated_per_s


@dataclass(frozen=True)
class Second:
    """The end of one second: replicas asked for and ready; pairs that came, were generated and were done in it; the
    entries of each stream, taken or not, and those of them that no worker has taken (lag)."""

    replicas: Mapping[str, int]
    ready: Mapping[str, int]
    arrived: float
    generated: float
    done: float
    jobs: float
    candidates: float
    jobs_lag: float
    candidates_lag: float
    requests_waiting: float

    @property
    def in_work(self) -> float:
        return self.jobs + self.candidates


@dataclass(frozen=True)
class Outcome:
    """What became of a trace; the figures that a person asks for."""

    seconds: tuple[Second, ...]

    def replicas(self, part: str) -> list[int]:
        return [one.replicas[part] for one in self.seconds]

    def changes(self, part: str, begin: int = 0) -> int:
        """How many times the number of replicas changed from second `begin` on."""
        return sum(1 for before, after in pairwise(self.replicas(part)[begin:]) if before != after)

    def turns(self, part: str, begin: int = 0) -> int:
        """How many times the replicas began to fall after they had risen, or to rise after they had fallen."""
        steps = [after - before for before, after in pairwise(self.replicas(part)[begin:]) if before != after]
        return sum(1 for before, after in pairwise(steps) if (before > 0) != (after > 0))

    def replica_hours(self, part: str) -> float:
        return sum(self.replicas(part)) / 3600

    def longest_wait_s(self) -> int | None:
        """From a pair's coming to its being done, in whole seconds, the longest; None if one is never done."""
        came, done, longest, at = 0.0, 0.0, 0, 0
        for number, one in enumerate(self.seconds):
            came += one.arrived
            while done < came - 0.5 and at < len(self.seconds):
                done += self.seconds[at].done
                at += 1
            if done < came - 0.5:
                return None
            if one.arrived > 0:
                longest = max(longest, at - 1 - number)
        return longest


@dataclass
class _Replicas:
    """The replicas of a part, each by the second of its start, oldest first."""

    scaling: Scaling
    start_s: int
    state: State = field(init=False)
    started: list[int] = field(init=False)

    def __post_init__(self) -> None:
        self.state = State(self.scaling.least)
        self.started = [-self.start_s] * self.scaling.least

    def ready(self, second: int) -> int:
        return sum(1 for at in self.started if second - at >= self.start_s)

    def follow(self, second: int, metrics: Mapping[Trigger, float]) -> None:
        self.state = step(self.state, self.scaling, second, metrics)
        missing = self.state.replicas - len(self.started)
        self.started = (self.started + [second] * missing)[: self.state.replicas]  # the youngest go first


def simulate(arrivals: Sequence[float], capacity: Capacity, scalings: Mapping[str, Scaling]) -> Outcome:
    """What `scalings` make of `arrivals` (pairs in each second), from the fewest replicas of each part on."""
    parts = {name: _Replicas(scalings[name], capacity.start_s[name]) for name in PARTS}
    seconds: list[Second] = []
    jobs = candidates = 0.0
    admitted, generated = [0.0], [0.0]  # in all, before each second
    seen: list[float] = []
    by_a_full_one = 0.0
    for second, arrived in enumerate(arrivals):
        ready = {name: part.ready(second) for name, part in parts.items()}
        room = ready[GATEWAY] * ready[MLLM] * capacity.concurrency
        in_generation = min(jobs + arrived, room)
        made = min(
            in_generation,
            in_generation / capacity.pair_s,
            ready[MLLM] * capacity.generated_per_s,
            ready[GATEWAY] * capacity.paired_per_s,
        )
        done = min(candidates + made, ready[VERIFIER] * capacity.verified_per_s)
        jobs, candidates = jobs + arrived - made, candidates + made - done
        admitted.append(admitted[-1] + arrived)
        generated.append(generated[-1] + made)
        jobs_lag = max(0.0, jobs - room - ready[GATEWAY] * capacity.ahead)
        candidates_lag = max(0.0, candidates - ready[VERIFIER] * capacity.held)
        waiting = _REQUESTS_OF_A_PAIR * max(0.0, in_generation - ready[MLLM] * capacity.seats)
        if second % LOOK_S == 0:
            seen.append(_made_by_a_full_one(seconds, generated))
            by_a_full_one = max(seen[-SEEN_S // LOOK_S :])
        moment = {
            "jobs": jobs,
            "candidates": candidates,
            "jobs lag": jobs_lag,
            "candidates lag": candidates_lag,
            "requests waiting": waiting,
            _BY_A_FULL_ONE: by_a_full_one,
        }
        in_all = {"admitted": admitted, "generated": generated}
        for part in (one for one in parts.values() if acts(one.scaling, second)):
            part.follow(second, {one: _value(one, moment, in_all) for one in part.scaling.triggers})
        replicas = {name: part.state.replicas for name, part in parts.items()}
        seconds.append(
            Second(replicas, ready, arrived, made, done, jobs, candidates, jobs_lag, candidates_lag, waiting)
        )
    return Outcome(tuple(seconds))


def _made_by_a_full_one(seconds: Sequence[Second], generated: Sequence[float]) -> float:
    """Pairs that each vLLM made in a second, if jobs waited all the while and no vLLM came or went; else 0."""
    now = len(seconds) // SCRAPE_S * SCRAPE_S
    mllms = {one.ready[MLLM] for one in seconds[max(0, now - STILL_S) : now : SCRAPE_S]}
    waited = all(one.jobs_lag > 0 for one in seconds[max(0, now - FULL_S) : now : SCRAPE_S])
    if now < STILL_S or len(mllms) != 1 or mllms == {0} or not waited:
        return 0.0
    return _rate(generated, now, FULL_S) / mllms.pop()


def _value(trigger: Trigger, moment: Mapping[str, float], in_all: Mapping[str, Sequence[float]]) -> float:
    now = (len(in_all["admitted"]) - 1) // SCRAPE_S * SCRAPE_S
    match trigger.metric:
        case "filled":
            made = moment[_BY_A_FULL_ONE]
            return _rate(in_all["admitted"], now, trigger.over_s) / made if made > 0 else 0.0
        case "admitted" | "generated":
            return _rate(in_all[trigger.metric], now, trigger.over_s)
        case _:
            return math.floor(moment[trigger.metric])


def _rate(counted: Sequence[float], now: int, over_s: int) -> float:
    return (counted[now] - counted[max(0, now - over_s)]) / over_s
