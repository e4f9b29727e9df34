"""Traces that stay in this process, and how they hang together."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from pairs.tracing.otel import OtelTracing

Tree = dict[str, "Tree"]


@dataclass
class Kept:
    """The spans of all parts, as their one collector would get them."""

    exporter: InMemorySpanExporter = field(default_factory=InMemorySpanExporter)
    share: float = 1.0

    def of(self, part: str) -> OtelTracing:
        """The tracing of a part."""
        return OtelTracing(SimpleSpanProcessor(self.exporter), self.share, part)

    def all(self) -> Sequence[ReadableSpan]:
        return self.exporter.get_finished_spans()

    def named(self, name: str) -> list[ReadableSpan]:
        return [span for span in self.all() if span.name == name]

    def traces(self) -> dict[int, list[ReadableSpan]]:
        """The spans of each trace, in the order of their beginning."""
        found: dict[int, list[ReadableSpan]] = {}
        for span in sorted(self.all(), key=lambda one: one.start_time or 0):
            found.setdefault(span.context.trace_id, []).append(span)
        return found


def tree(spans: Sequence[ReadableSpan], parent: int | None = None) -> Tree:
    """The names of the spans below `parent` (of the first ones, if None), each with what is below it."""
    return {
        span.name: tree(spans, span.context.span_id)
        for span in spans
        if (span.parent.span_id if span.parent else None) == parent
    }
