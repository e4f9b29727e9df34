"""Traces by OpenTelemetry. Imported only when traces are asked for: it needs the extra `tracing`."""

from datetime import datetime
from importlib.metadata import version

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from pairs.tracing import NO_SPAN, Attributes, Kind, Span, Tracing

_EXPORT_S = 5
_PROPAGATOR = TraceContextTextMapPropagator()
_KINDS = {
    "internal": trace.SpanKind.INTERNAL,
    "server": trace.SpanKind.SERVER,
    "client": trace.SpanKind.CLIENT,
}


def tracing_to_url(url: str, share: float, part: str) -> Tracing:
    """Traces that go to the OTLP/HTTP endpoint `url`, in batches, from a thread of their own."""
    return OtelTracing(BatchSpanProcessor(OTLPSpanExporter(url, timeout=_EXPORT_S)), share, part)


class OtelTracing(Tracing):
    """Traces that go to `processor`. A trace that begins here is kept with probability `share`; one that began
    elsewhere is kept if its parent is."""

    def __init__(self, processor: SpanProcessor, share: float, part: str) -> None:
        resource = Resource.create({"service.name": f"judgefree-{part}", "service.version": version("judgefree")})
        self._provider = TracerProvider(ParentBased(TraceIdRatioBased(share)), resource, shutdown_on_exit=False)
        self._provider.add_span_processor(processor)
        self._tracer = self._provider.get_tracer("judgefree")

    def begin_trace(
        self, name: str, of_client: str | None, attributes: Attributes | None = None, *, start: datetime | None = None
    ) -> Span:
        return self.span(name, of_client, attributes, start, "server")

    def begin(
        self, name: str, parent: str | None, attributes: Attributes | None = None, *, start: datetime | None = None
    ) -> Span:
        return NO_SPAN if parent is None else self.span(name, parent, attributes, start, "internal")

    def span(
        self, name: str, parent: str | None, attributes: Attributes | None, start: datetime | None, kind: Kind
    ) -> Span:
        if parent is not None and not _is_kept(parent):  # nor is its child: there is only the word to pass on
            return PassedOn(parent)
        context = _PROPAGATOR.extract({"traceparent": parent} if parent else {}, Context())
        span = OtelSpan(self, self._tracer.start_span(name, context, _KINDS[kind], start_time=_ns(start)))
        span.set(attributes or {})
        return span

    def close(self) -> None:
        self._provider.shutdown()


class PassedOn(Span):
    """No span, of a trace that is not kept: whoever is asked below is told so."""

    def __init__(self, trace: str) -> None:
        self.trace = trace


class OtelSpan(Span):
    def __init__(self, tracing: OtelTracing, span: trace.Span) -> None:
        self._tracing, self._span = tracing, span
        context = span.get_span_context()
        self.trace = f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"

    def child(
        self,
        name: str,
        attributes: Attributes | None = None,
        *,
        start: datetime | None = None,
        kind: Kind = "internal",
    ) -> Span:
        return self._tracing.span(name, self.trace, attributes, start, kind)

    def set(self, attributes: Attributes) -> None:
        self._span.set_attributes({name: value for name, value in attributes.items() if value is not None})

    def fail(self, error: BaseException) -> None:
        self._span.record_exception(error)
        self._span.set_status(trace.StatusCode.ERROR, str(error) or type(error).__name__)

    def end(self, at: datetime | None = None) -> None:
        self._span.end(_ns(at))


def _is_kept(traceparent: str) -> bool:
    """Whether the trace's last field, the flags, says that it is sampled."""
    return bool(int(traceparent.rpartition("-")[2], 16) & trace.TraceFlags.SAMPLED)


def _ns(moment: datetime | None) -> int | None:
    return None if moment is None else int(moment.timestamp() * 1e9)
