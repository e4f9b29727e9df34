"""What a client of paired decoding sends, and what it makes of the answers."""

import asyncio
import base64
import io
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import httpx
from PIL.Image import Image

from tests.mllm.server import MllmServer

PROMPT = "Describe the image."
MAX_TOKENS = 80
LONGEST_DELAY_S = 5.0
"""For an ordinary answer of eight tokens, however busy the machine; it takes 0.1 s where nothing else runs."""
BREATH_S = 0.2
"""Between two requests of those that go on beside: without it they alone keep both cores of a small machine busy."""
PATH = "/v1/chat/completions"
LOST = '"message":"Internal server error"'
"""All that vLLM says of it; its log has "cache drift"."""


@dataclass(frozen=True)
class Answer:
    """One answer of the model; `stop_reason` is the sentence of an aborted twin."""

    text: str
    token_ids: list[int]
    finish_reason: str
    stop_reason: str | int | None
    prompt_token_ids: list[int]


@dataclass(frozen=True)
class Client:
    server: MllmServer
    http: httpx.AsyncClient

    async def post(self, image: Image | None, **fields: Any) -> httpx.Response:
        """A chat completion about `image`, or without one; greedy unless `fields` say otherwise.

        Sent again once where vLLM 0.32 has lost the image, since an earlier request about it was broken off.
        """
        body = self._body(image, fields)
        response = await self.http.post(PATH, json=body)
        if LOST in response.text and image is not None and data_uri(image) in self.server.broken_off:
            self.server.broken_off.remove(data_uri(image))
            response = await self.http.post(PATH, json=body)
        return response

    async def hang_up(self, image: Image | None, **fields: Any) -> None:
        """Ask as `post`, and close the connection as soon as the first token of the answer is there."""
        body = self._body(image, fields) | {"stream": True}
        if image is not None:
            self.server.broken_off.add(data_uri(image))
        async with self.http.stream("POST", PATH, json=body) as response:
            async for line in response.aiter_lines():
                if '"token_ids":[' in line:
                    return
        raise AssertionError("the answer ended before its client hung up")

    def _body(self, image: Image | None, fields: dict[str, Any]) -> dict[str, Any]:
        content: list[dict[str, Any]] = [{"type": "text", "text": fields.pop("prompt", PROMPT)}]
        if image is not None:
            content.insert(0, {"type": "image_url", "image_url": {"url": data_uri(image)}})
        body = {
            "model": self.server.model,
            "messages": [{"role": "user", "content": content}],
            "temperature": 0,
            "max_tokens": MAX_TOKENS,
            "return_token_ids": True,
        }
        return body | fields

    async def ask(self, image: Image | None, **fields: Any) -> Answer:
        """The answer to a request that must succeed."""
        response = await self.post(image, **fields)
        assert response.status_code == httpx.codes.OK, response.text
        body = response.json()
        choice = body["choices"][0]
        return Answer(
            text=choice["message"]["content"] or "",
            token_ids=choice["token_ids"] or [],
            finish_reason=choice["finish_reason"],
            stop_reason=choice["stop_reason"],
            prompt_token_ids=body["prompt_token_ids"] or [],
        )

    async def ask_pair(self, image: Image, ratio: float, **fields: Any) -> tuple[Answer, Answer]:
        """Both members of one twin pair: (grounded, blind)."""
        name = uuid4().hex
        grounded = self.ask(image, vllm_xargs=xargs(name, "grounded", ratio), **fields)
        blind = self.ask(None, vllm_xargs=xargs(name, "blind", ratio), **fields)
        first, second = await asyncio.gather(grounded, blind)
        return first, second

    @asynccontextmanager
    async def others_go_on(self, image: Image) -> AsyncIterator[None]:
        """Ordinary requests, now and again, while the block runs and until three are answered, each in time."""
        delays: list[float] = []

        async def ask_on() -> None:
            while True:
                began = time.monotonic()
                answer = await self.ask(image, max_tokens=8)
                delays.append(time.monotonic() - began)
                assert answer.finish_reason == "length"
                await asyncio.sleep(BREATH_S)

        asking = asyncio.create_task(ask_on())
        yield
        deadline = time.monotonic() + LONGEST_DELAY_S
        while len(delays) < 3:  # a block may be shorter than they are
            assert not asking.done(), asking.exception()
            assert time.monotonic() < deadline, f"{len(delays)} of 3 were answered"
            await asyncio.sleep(0.02)
        asking.cancel()
        self.server.broken_off.add(data_uri(image))
        await asyncio.wait([asking])
        assert asking.cancelled(), asking.exception()
        assert max(delays) < LONGEST_DELAY_S

    async def until(self, metric: str, value: float) -> None:
        """Wait until a metric of the server's has reached `value`; raises AssertionError after 30 s."""
        deadline = time.monotonic() + 30
        while (seen := self.server.metric(metric)) < value:
            assert time.monotonic() < deadline, f"{metric} is {seen}"
            await asyncio.sleep(0.02)

    async def settled(self) -> None:
        """Wait until the server holds no KV block and knows of no pair; raises AssertionError if it does not come."""
        deadline = time.monotonic() + 30
        held = ("vllm:kv_cache_usage_perc", "judgefree_mllm_twins_in_flight", "vllm:num_requests_running")
        while left := {name: value for name in held if (value := self.server.metric(name))}:
            assert time.monotonic() < deadline, left
            await asyncio.sleep(0.05)
        assert self.server.metric("judgefree_mllm_divergences_total") == 0


@asynccontextmanager
async def client_of(server: MllmServer) -> AsyncIterator[Client]:
    # vLLM closes a connection after 5 idle seconds: a request that is sent just then would be lost.
    limits = httpx.Limits(max_connections=None, keepalive_expiry=2)
    async with httpx.AsyncClient(base_url=server.url, timeout=240, limits=limits) as http:
        yield Client(server, http)


def xargs(twin: str, role: str, ratio: float) -> dict[str, str | float]:
    return {"judgefree_twin": twin, "judgefree_role": role, "judgefree_ratio": ratio}


def data_uri(image: Image) -> str:
    encoded = io.BytesIO()
    image.save(encoded, "PNG")
    return f"data:image/png;base64,{base64.b64encode(encoded.getvalue()).decode()}"
