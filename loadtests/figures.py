"""The figures of a run, from its books: what the summary says and the thresholds are held against."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from loadtests.courses import Bursts, Climb, Constant
from loadtests.knee import find_knee
from loadtests.latency import quantile, quantiles
from loadtests.ledger import Ledger
from loadtests.profiles import Profile, Ramp, Soak, Thresholds
from loadtests.samples import Sample


@dataclass(frozen=True)
class Verdict:
    """A threshold, what was found (None: nothing that could be held against it), and whether it is met."""

    threshold: str
    limit: float
    found: float | None
    is_met: bool


@dataclass(frozen=True)
class Span:
    """What of a run is counted, in seconds since the epoch: without the warm-up and the drain."""

    since: float
    until: float


Course = Constant | Bursts | Climb


def figures(ledger: Ledger, profile: Profile, course: Course, span: Span, samples: Sequence[Sample]) -> dict[str, Any]:
    """Rates per second over the span, latencies in seconds of the images that arrived in it, shares of requests."""
    level = ledger.measure(0, span.since, span.until)
    latencies, unfinished = ledger.latencies(span.since, span.until)
    requests = sum(ledger.outcomes.values())
    lateness = [one["late_s"] for one in ledger.arrived(span.since, span.until)]
    return {
        "seconds": span.until - span.since,
        "arrived_per_s": level.arrived_per_s,
        "accepted_per_s": level.accepted_per_s,
        "pairs_per_s": level.finished_per_s,
        "latency_s": quantiles(latencies) | {"count": len(latencies), "unfinished": unfinished},
        "requests": requests,
        "error_share": ledger.outcomes["error"] / max(1, requests),
        "busy_share": ledger.outcomes["busy"] / max(1, requests),
        "lateness_p95_s": quantile(lateness, 0.95),
        "most_in_work": max((one.in_work for one in samples), default=0),
        **_of_course(ledger, profile, course, span, samples),
    }


def _of_course(
    ledger: Ledger, profile: Profile, course: Course, span: Span, samples: Sequence[Sample]
) -> dict[str, Any]:
    """What only one kind of shape has."""
    if isinstance(course, Climb) and isinstance(profile.shape, Ramp):
        knee = find_knee(course.levels, profile.shape, profile.load)
        return {"levels": [asdict(one) for one in course.levels], "knee": None if knee is None else asdict(knee)}
    if isinstance(course, Bursts):
        return {"recovery_s": recoveries_s(samples, course.peaks)}
    if isinstance(profile.shape, Soak):
        return {"windows": windows(ledger, span, profile.shape.window_s), "drift": drift(ledger, span)}
    return {}


def recoveries_s(samples: Sequence[Sample], peaks: Sequence[tuple[float, float]]) -> list[float | None]:
    """For each burst, seconds from its end until no more pairs are in work than before the first one (between two, the
    earlier one's crowd may still be there); None if that was not seen, or not what was in work before the first."""
    before = max((one.in_work for one in samples if peaks and one.at < peaks[0][0]), default=None)
    if before is None:
        return [None] * len(peaks)
    return [
        next((one.at - end for one in samples if one.at >= end and one.in_work <= before), None) for _, end in peaks
    ]


def windows(ledger: Ledger, span: Span, window_s: float) -> list[dict[str, float | None]]:
    """Throughput and latency of each whole window of a soak, to see them drift."""
    count = int((span.until - span.since) / window_s)
    starts = [span.since + number * window_s for number in range(count)]
    found = [ledger.measure(0, start, start + window_s) for start in starts]
    return [{"pairs_per_s": one.finished_per_s, "p50_s": one.p50_s, "p95_s": one.p95_s} for one in found]


def drift(ledger: Ledger, span: Span) -> float | None:
    """The median latency of a run's last third over that of its first; None where one of them has none."""
    third_s = (span.until - span.since) / 3
    first = ledger.measure(0, span.since, span.since + third_s).p50_s
    last = ledger.measure(0, span.until - third_s, span.until).p50_s
    return last / first if first and last else None


def verdicts(thresholds: Thresholds, found: dict[str, Any], failed_pairs: int) -> list[Verdict]:
    """Each threshold of the profile against the figures. A figure that is missing does not meet its threshold."""
    latency, knee = found["latency_s"], found.get("knee") or {}
    recoveries = found.get("recovery_s", [])
    worst_recovery_s = None if not recoveries or None in recoveries else max(recoveries)
    measured: dict[str, float | None] = {
        "min_pairs_per_s": found["pairs_per_s"],
        "max_p50_s": latency["p50"],
        "max_p95_s": latency["p95"],
        "max_p99_s": latency["p99"],
        "max_error_share": found["error_share"],
        "max_busy_share": found["busy_share"],
        "max_failed_pairs": failed_pairs,
        "min_knee_pairs_per_s": knee.get("pairs_per_s"),
        "max_recovery_s": worst_recovery_s,
        "max_drift": found.get("drift"),
        "max_lateness_p95_s": found["lateness_p95_s"],
    }
    limits: dict[str, float] = thresholds.model_dump(exclude_none=True)
    return [_verdict(name, limit, measured[name]) for name, limit in limits.items()]


def _verdict(name: str, limit: float, found: float | None) -> Verdict:
    is_met = found is not None and (found >= limit if name.startswith("min_") else found <= limit)
    return Verdict(name, limit, found, is_met)
