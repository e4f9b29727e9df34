"""Traces: what became of a pair, part by part, as spans of one trace. Off, they are not made at all, at no cost.

A span's context is a plain value (`trace`, a W3C `traceparent`), so that it can wait in a stream entry and be sent over
HTTP. Parts know `Tracing` and `Span` alone; what makes them real is imported only when the setting `trace_url` asks.
"""

import re
from collections.abc import Mapping
from datetime import datetime
from types import TracebackType
from typing import Literal, Self

from pairs.errors import SettingsError
from pairs.model import Job
from pairs.settings import Settings

Attributes = Mapping[str, str | float | None]
"""What is known of a span; what is None is left out."""
Kind = Literal["internal", "server", "client"]

_TRACEPARENT = re.compile(r"[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")


class Span:
    """Something that took time; as a block it ends with the block, and an error that leaves the block is recorded."""

    trace: str | None = None
    """What its children give as their parent."""

    def child(
        self,
        name: str,
        attributes: Attributes | None = None,
        *,
        start: datetime | None = None,
        kind: Kind = "internal",
    ) -> "Span":
        """A span within this one, under way since now or since `start`."""
        return self

    def set(self, attributes: Attributes) -> None:
        """Add what became known."""

    def fail(self, error: BaseException) -> None:
        """Record an error, which makes the span one that failed."""

    def end(self, at: datetime | None = None) -> None:
        """End it now, or at a moment; a span that is never ended is never sent."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: BaseException | None, traceback: TracebackType | None) -> None:
        if error is not None:
            self.fail(error)
        self.end()


class Tracing:
    """Traces nothing. What `open_tracing` returns where `trace_url` is unset."""

    def begin_trace(
        self, name: str, of_client: str | None, attributes: Attributes | None = None, *, start: datetime | None = None
    ) -> Span:
        """The first span of a pair: of a trace of its own, or a child of a client's span."""
        return NO_SPAN

    def begin(
        self, name: str, parent: str | None, attributes: Attributes | None = None, *, start: datetime | None = None
    ) -> Span:
        """A span under way since now, or since `start`, a child of another part's; none for a pair without a trace."""
        return NO_SPAN

    def close(self) -> None:
        """Send what is left; it may take seconds."""


NO_SPAN = Span()
"""What is there of a span that is not made."""


def open_tracing(settings: Settings, part: str) -> Tracing:
    """The tracing that the settings ask for, of the part named `part`.

    Raises SettingsError where `trace_url` is set and opentelemetry is not installed.
    """
    if settings.trace_url is None:
        return Tracing()
    try:
        from pairs.tracing.otel import tracing_to_url  # here: it takes a moment, and not every part has it
    except ImportError as error:
        raise SettingsError(
            "trace_url is set, but opentelemetry is not installed here: unset it, or pip install 'judgefree[tracing]'."
        ) from error
    return tracing_to_url(settings.trace_url, settings.trace_share, part)


def accepted_parent(traceparent: str | None) -> str | None:
    """A client's `traceparent` if it is one (W3C Trace Context), else None."""
    return traceparent if traceparent is not None and _TRACEPARENT.fullmatch(traceparent) else None


def of_job(job: Job) -> Attributes:
    """What every part's span says of a pair."""
    return {
        "judgefree.pair_id": job.id,
        "judgefree.method": job.hallucination.method.value,
        "judgefree.ratio": job.hallucination.ratio,
        "judgefree.adapter": job.adapter,
    }
