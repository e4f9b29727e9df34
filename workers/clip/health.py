"""The verifier's health and metrics over HTTP: /healthz, /readyz, /metrics."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator
from concurrent.futures import TimeoutError as FutureTimeout
from contextlib import contextmanager
from threading import Thread
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    make_wsgi_app,
)
from prometheus_client.exposition import ThreadingWSGIServer
from prometheus_client.registry import Collector

from pairs.errors import JudgefreeError, SettingsError
from pairs.measures import CALL_S, STAGE_S, add_process, blob_latency, ratio_bucket, store_latency
from pairs.model import Pair

_PROBE_S = 5.0


class Metrics:
    """What the verifier counts, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        add_process(self.registry)
        self.store_latency, self.blob_latency = store_latency(self.registry), blob_latency(self.registry)
        self.batch_size = Histogram(
            "judgefree_verifier_batch_size",
            "Candidates in a batch",
            buckets=[2.0**power for power in range(11)],
            registry=self.registry,
        )
        self.stage = Histogram(
            "judgefree_verifier_stage_seconds",
            "Time of a batch in a stage",
            ["stage"],
            buckets=CALL_S,
            registry=self.registry,
        )
        self.wait_s = Histogram(
            "judgefree_verification_wait_seconds",
            "From a candidate's coming to its being taken",
            buckets=STAGE_S,
            registry=self.registry,
        )
        self.verification_s = Histogram(
            "judgefree_verification_seconds",
            "From a candidate's being taken to its decision",
            buckets=STAGE_S,
            registry=self.registry,
        )
        self.pair_s = Histogram(
            "judgefree_pair_seconds",
            "From a pair's admission to its decision",
            buckets=STAGE_S,
            registry=self.registry,
        )
        self.decisions = Counter(
            "judgefree_verifier_decisions",
            "Pairs by decision, by the reason of a discard, and by how hallucination was injected",
            ["decision", "reason", "method", "ratio"],
            registry=self.registry,
        )
        self.failures = Counter(
            "judgefree_verifier_failures", "Candidates given back or up", ["outcome"], registry=self.registry
        )
        for outcome in ("retry", "dead", "gone"):
            self.failures.labels(outcome)  # a rate is seen of what was there before it grew
        self.margin = Histogram(
            "judgefree_verifier_margin",
            "score(normal) - score(injected), a difference of cosines",
            buckets=[tenth / 50 for tenth in range(-20, 21)],
            registry=self.registry,
        )
        self.images = Counter(
            "judgefree_verifier_images", "Images, encoded or remembered", ["source"], registry=self.registry
        )
        self.held = Gauge("judgefree_verifier_held", "Candidates in work", registry=self.registry)

    def watch(self, device: Collector) -> None:
        """Serve what `device` tells, too."""
        self.registry.register(device)

    def decided(self, pair: Pair) -> None:
        """Count a pair that this verifier decided and stored, and was the first to."""
        method, ratio = pair.hallucination.method, ratio_bucket(pair.hallucination.ratio)
        self.decisions.labels(pair.decision, pair.reason or "", method, ratio).inc()
        if pair.margin is not None:
            self.margin.observe(pair.margin)
        if pair.timings is not None:
            self.wait_s.observe(pair.timings.verify_queue_s)
            self.verification_s.observe(pair.timings.verify_s)
            self.pair_s.observe(pair.timings.total_s)


class Health:
    """What the probes ask: whether the event loop turns, whether the model is loaded and the stream is reachable."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._probe: Callable[[], Awaitable[None]] | None = None

    def ready_when(self, probe: Callable[[], Awaitable[None]]) -> None:
        """From now on ready means that `probe` does not raise; before, the model was not loaded."""
        self._probe = probe

    def is_alive(self) -> bool:
        """Whether the event loop answers; for a thread other than the loop's."""
        return self._asked(asyncio.sleep(0)) is None

    def why_not_ready(self) -> str | None:
        """None when ready, else one sentence; for a thread other than the loop's."""
        if self._probe is None:
            return "The model is not loaded yet."
        return self._asked(self._probe())

    def _asked(self, probe: Awaitable[None]) -> str | None:
        async def ask() -> None:
            await probe

        try:
            asyncio.run_coroutine_threadsafe(ask(), self._loop).result(_PROBE_S)
        except JudgefreeError as error:
            return error.detail
        except FutureTimeout:
            return f"No answer within {_PROBE_S:g} s."
        return None


@contextmanager
def serving(host: str, port: int, health: Health, metrics: Metrics) -> Iterator[None]:
    """Serve the three paths from a thread. Raises SettingsError when the address cannot be had."""
    try:
        server = make_server(host, port, _app(health, metrics), ThreadingWSGIServer, _Quiet)
    except OSError as error:
        raise SettingsError(f"verifier_port {port} on {host} cannot be used: {error.strerror}.") from error
    thread = Thread(target=server.serve_forever, name="health", daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _app(health: Health, metrics: Metrics) -> Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]:
    exposition: Callable[..., Iterable[bytes]] = make_wsgi_app(metrics.registry)

    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        match environ["PATH_INFO"]:
            case "/metrics":
                return exposition(environ, start_response)
            case "/healthz":
                complaint = None if health.is_alive() else "The event loop does not answer."
            case "/readyz":
                complaint = health.why_not_ready()
            case _:
                start_response("404 Not Found", [("Content-Type", "text/plain")])
                return [b"There are /healthz, /readyz and /metrics.\n"]
        status = "200 OK" if complaint is None else "503 Service Unavailable"
        start_response(status, [("Content-Type", "text/plain")])
        return [f"{complaint or 'ok'}\n".encode()]

    return app


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """A probe a second is no event."""
