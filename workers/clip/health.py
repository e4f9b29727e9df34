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
    PlatformCollector,
    ProcessCollector,
    make_wsgi_app,
)
from prometheus_client.exposition import ThreadingWSGIServer

from pairs.errors import JudgefreeError, SettingsError

_PROBE_S = 5.0
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Metrics:
    """What the verifier counts, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
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
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.decisions = Counter(
            "judgefree_verifier_decisions", "Pairs by decision", ["decision", "reason"], registry=self.registry
        )
        self.failures = Counter(
            "judgefree_verifier_failures", "Candidates given back or up", ["outcome"], registry=self.registry
        )
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
