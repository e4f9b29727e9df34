"""The verifier's part of a pair's trace, written down once its batch is settled: until then there are only moments."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

from pairs.clock import now
from pairs.model import Pair
from pairs.tracing import Tracing, of_job
from workers.clip.held import Held


@dataclass
class Moments:
    """When a batch of so many went from each step to the next."""

    size: int
    encoding: datetime = field(default_factory=now)
    scored: datetime = field(default_factory=now)
    decided: datetime = field(default_factory=now)
    stored: datetime = field(default_factory=now)


def tell_waits(tracing: Tracing, taken: Iterable[Held]) -> None:
    for one in taken:
        tracing.begin("wait for verification", one.delivery.trace, start=one.delivery.added_at).end(one.taken_at)


def tell_failure(tracing: Tracing, one: Held, error: Exception, outcome: str) -> None:
    about = {**of_job(one.candidate.job), "judgefree.outcome": outcome}
    with tracing.begin("verification", one.delivery.trace, about, start=one.taken_at) as span:
        span.fail(error)


def tell_batch(tracing: Tracing, stored: Iterable[tuple[Held, Pair]], moments: Moments) -> None:
    """The steps of each pair of a batch: with its batch until the encoder was free, encoded, decided, stored."""
    for one, pair in stored:
        trace = one.delivery.trace
        if trace is None:
            continue
        about = {
            **of_job(one.candidate.job),
            "judgefree.decision": pair.decision,
            "judgefree.reason": pair.reason,
            "judgefree.margin": pair.margin,
            "judgefree.batch_size": moments.size,
        }
        span = tracing.begin("verification", trace, about, start=one.taken_at)
        span.child("batch", start=one.taken_at).end(moments.encoding)
        span.child("encode", start=moments.encoding).end(moments.scored)
        span.child("decide", start=moments.scored).end(moments.decided)
        span.end(moments.decided)
        tracing.begin("store insert", trace, start=moments.decided).end(moments.stored)
