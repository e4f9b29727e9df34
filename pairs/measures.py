"""Measures that more than one part has. For parts that serve metrics: others have no prometheus_client."""

from typing import Final

from prometheus_client import CollectorRegistry, Histogram, PlatformCollector, ProcessCollector

from pairs.timing import Observe

STAGE_S: Final = (0.05, 0.1, 0.25, 0.5, 1, 2, 4, 8, 15, 30, 60, 120, 300, 600, 1800)
"""Buckets of the stages of a pair's way, in seconds: from a verification to an hour's backlog."""
CALL_S: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
"""Buckets of calls to what a part waits for, in seconds."""
_TENTHS: Final = 10


def add_process(registry: CollectorRegistry) -> None:
    """The processor time, memory and open files of this process."""
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)


def store_latency(registry: CollectorRegistry) -> Observe:
    return _latency("judgefree_store_operation_seconds", "Time of a call to the store", registry)


def blob_latency(registry: CollectorRegistry) -> Observe:
    return _latency("judgefree_blob_operation_seconds", "Time of a call to the image store", registry)


def _latency(name: str, text: str, registry: CollectorRegistry) -> Observe:
    histogram = Histogram(name, text, ["operation"], buckets=CALL_S, registry=registry)
    return lambda operation, seconds: histogram.labels(operation).observe(seconds)


def ratio_bucket(ratio: float | None) -> str:
    """The tenth that a hallucination ratio lies in, as a label of few values: `0.4-0.5` holds 0.4 and not 0.5, the
    last tenth holds 1 too; `<0` and `>1` beyond, `none` for a method without one."""
    if ratio is None:
        return "none"
    if ratio < 0:
        return "<0"
    if ratio > 1:
        return ">1"
    tenth = min(int(ratio * _TENTHS + 1e-9), _TENTHS - 1)
    return f"{tenth / _TENTHS:.1f}-{(tenth + 1) / _TENTHS:.1f}"
