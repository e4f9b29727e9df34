"""A real HTTP proxy in front of a real vLLM that alters one twin's answers, as a broken paired decoding would."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tests.conftest import free_port


class Meddler:
    """Relays to `url`, and appends a word to the answers of blind twins while `is_meddling`; counts these."""

    def __init__(self, far: httpx.AsyncClient) -> None:
        self.is_meddling = True
        self.altered = 0
        self._far = far

    async def relay(self, request: Request) -> Response:
        body = await request.body()
        answer = await self._far.request(request.method, request.url.path, content=body, headers=_plain(request))
        content = answer.content
        if self.is_meddling and answer.status_code == 200 and _is_blind(body):
            told = answer.json()
            told["choices"][0]["message"]["content"] += " meddled"
            content = json.dumps(told).encode()
            self.altered += 1
        return Response(content, answer.status_code, media_type=answer.headers.get("content-type"))


def _plain(request: Request) -> dict[str, str]:
    return {name: value for name, value in request.headers.items() if name == "content-type"}


def _is_blind(body: bytes) -> bool:
    asked: dict[str, Any] = json.loads(body) if body else {}
    return bool(asked.get("vllm_xargs", {}).get("judgefree_role") == "blind")


@asynccontextmanager
async def meddled(url: str) -> AsyncIterator[tuple[str, Meddler]]:
    """The proxy's URL, and the proxy."""
    port = free_port()
    async with httpx.AsyncClient(base_url=url, timeout=120) as far:
        meddler = Meddler(far)
        app = Starlette(routes=[Route("/{path:path}", meddler.relay, methods=["GET", "POST"])])
        server = uvicorn.Server(uvicorn.Config(app, port=port, log_config=None, access_log=False))
        serving = asyncio.create_task(server._serve())  # `serve` would take over pytest's signals
        for _ in range(1000):
            if server.started:
                break
            await asyncio.sleep(0.02)
        try:
            yield f"http://127.0.0.1:{port}", meddler
        finally:
            server.should_exit = True
            await serving
