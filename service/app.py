"""The FastAPI application: routes, problems, access and measures around one gateway."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version

import structlog
from fastapi import FastAPI
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pairs.errors import JudgefreeError
from pairs.settings import Settings
from pairs.tracing import Tracing, open_tracing
from service.gateway import open_gateway
from service.metrics import Metrics
from service.problems import add_problem_handlers
from service.routes import metrics_api, open_api, pairs_api

_log = structlog.get_logger(__name__)


def create_app(settings: Settings, tracing: Tracing | None = None) -> FastAPI:
    """The gateway's application; its parts are opened when it starts and closed when it ends.

    Traces go to `tracing`, or where the settings say. Raises SettingsError where they cannot be made.
    """
    metrics, traces = Metrics(), tracing or open_tracing(settings, "gateway")

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        try:
            async with open_gateway(settings, metrics, traces) as gateway:
                app.state.gateway = gateway
                _log.info("gateway is up")
                yield
                _log.info("gateway is closing")
        except JudgefreeError as error:
            _log.error("the gateway cannot start", type=error.type, detail=error.detail)
            raise

    app = FastAPI(
        title="judgefree",
        version=version("judgefree"),
        description="Images in, preference pairs out: controlled hallucination, verified without a judge.",
        lifespan=lifespan,
    )
    app.state.settings = settings
    for router in (pairs_api, metrics_api, open_api):
        app.include_router(router)
    add_problem_handlers(app)
    app.add_middleware(_Measured, metrics=metrics)
    return app


class _Measured:
    """Counts each request by route and status, and logs it."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = 500
        started = time.monotonic()

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, noting)
        finally:
            route = getattr(scope.get("route"), "path", "none")
            seconds = time.monotonic() - started
            self._metrics.requests.labels(scope["method"], route, str(status)).inc()
            self._metrics.request_s.labels(scope["method"], route).observe(seconds)
            _log.debug("request", method=scope["method"], path=scope["path"], status=status, seconds=round(seconds, 4))
