"""A gateway in this process, on a real Valkey and a real store. Its model is away unless a test says otherwise."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx
import pytest

from pairs.settings import Settings
from pairs.tracing import Tracing
from service.app import create_app
from service.gateway import Gateway
from tests.conftest import MakeSettings, free_port


@dataclass(frozen=True)
class Served:
    """A gateway at work: HTTP to it, and the parts behind it to arrange with."""

    http: httpx.AsyncClient
    gateway: Gateway
    settings: Settings


@asynccontextmanager
async def serving(settings: Settings, tracing: Tracing | None = None) -> AsyncIterator[Served]:
    app = create_app(settings, tracing)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://gateway", timeout=120) as http,
    ):
        yield Served(http, app.state.gateway, settings)


@pytest.fixture
async def served(make_settings: MakeSettings) -> AsyncIterator[Served]:
    """A gateway whose model is away: it refuses what is bad, and would accept the rest."""
    async with serving(make_settings(mllm_url=f"http://127.0.0.1:{free_port()}")) as running:
        yield running
