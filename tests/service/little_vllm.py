"""A real HTTP server that speaks the few endpoints of vLLM that the gateway uses, without a model behind them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

from tests.conftest import free_port


class LittleVllm:
    """Answers every question with `answer` after `takes_s`; `asked` are the questions, `most_at_once` of them.

    While it `is_broken` it is well, and answers every question with HTTP 500 at once. The next `lost_images` questions
    with an image it answers as vLLM does about an image that it has lost. Where `strange` is given it is
    what it tells of its models.
    """

    def __init__(self, address: str, port: int) -> None:
        self.address, self.port = address, port
        self.model, self.max_model_len = "tiny", 4096
        self.takes_s = 0.0
        self.answer = "a red ring"
        self.is_broken = False
        self.lost_images = 0
        self.strange: str | None = None
        self.adapters: dict[str, str] = {}
        self.asked: list[dict[str, Any]] = []
        self.at_once = self.most_at_once = 0
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        return f"http://{self.address}:{self.port}"

    async def start(self) -> None:
        app = web.Application(client_max_size=2**26)
        app.add_routes(
            [
                web.get("/health", self._health),
                web.get("/version", self._version),
                web.get("/v1/models", self._models),
                web.post("/tokenize", self._tokenize),
                web.post("/v1/load_lora_adapter", self._load),
                web.post("/v1/chat/completions", self._complete),
            ]
        )
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.01)  # 0 would wait for ever
        await self._runner.setup()
        await web.TCPSite(self._runner, self.address, self.port, reuse_address=True).start()

    async def fall(self) -> None:
        """End at once, as by a kill: whoever waits for an answer loses the connection. Adapters are forgotten."""
        if self._runner is not None:
            await self._runner.cleanup()
        self._runner = None
        self.adapters.clear()

    def twins(self) -> set[str]:
        """The ids of the twins that were asked here."""
        return {body["vllm_xargs"]["judgefree_twin"] for body in self.asked if "vllm_xargs" in body}

    async def _health(self, _: web.Request) -> web.Response:
        return web.Response()

    async def _version(self, _: web.Request) -> web.Response:
        return web.json_response({"version": "0.32.0"})

    async def _models(self, _: web.Request) -> web.Response:
        if self.strange is not None:
            return web.Response(text=self.strange)
        base = {"id": self.model, "root": self.model, "parent": None, "max_model_len": self.max_model_len}
        loaded = [{"id": name, "root": path, "parent": self.model} for name, path in self.adapters.items()]
        return web.json_response({"data": [base, *loaded]})

    async def _tokenize(self, _: web.Request) -> web.Response:
        return web.json_response({"count": 50})

    async def _load(self, request: web.Request) -> web.Response:
        asked = await request.json()
        self.adapters[asked["lora_name"]] = asked["lora_path"]
        return web.Response()

    async def _complete(self, request: web.Request) -> web.Response:
        body = await request.json()
        if body["model"] not in (self.model, *self.adapters):
            return web.json_response({"error": {"message": "no such model"}}, status=404)
        self.asked.append(body)
        if self.is_broken:
            return web.json_response({"error": {"message": "a fault of its own"}}, status=500)
        if self.lost_images and "image_url" in str(body["messages"]):
            self.lost_images -= 1
            return web.json_response({"error": {"message": "Internal server error"}}, status=500)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await asyncio.sleep(self.takes_s)
        finally:
            self.at_once -= 1
        message = {"content": self.answer}
        return web.json_response({"choices": [{"finish_reason": "stop", "message": message}]})


@asynccontextmanager
async def little_vllms(count: int, port: int | None = None) -> AsyncIterator[list[LittleVllm]]:
    """So many of them, all on one port, each at a loopback address of its own, as pods behind one name are."""
    chosen = port or free_port()
    servers = [LittleVllm(f"127.0.0.{10 + index}", chosen) for index in range(count)]
    try:
        for server in servers:
            await server.start()
        yield servers
    finally:
        for server in servers:
            await server.fall()
