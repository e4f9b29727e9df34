"""What answers where vLLM should be, and is not vLLM as it is known here, is taken for the model's absence. What is
sent there is JSON, of which a large image is no second time in memory.
"""

import asyncio
import base64
import json
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from pairs.errors import ModelUnavailable
from pairs.model import Sampling
from pairs.places import Place
from pairs.settings import load_settings
from service.mllm import _PIECE_BYTES, _WHOLE_BYTES, Mllm, Question, Twin
from tests.conftest import MakeSettings, free_port

STRANGE = {
    "no JSON": "<html>",
    "a list": "[]",
    "a number": "1",
    "another object": "{}",
    "no list of models": '{"data": null}',
    "models by name alone": '{"data": ["tiny"]}',
    "a model without a name": '{"data": [{"parent": null, "max_model_len": 512}]}',
    "a model without a length": '{"data": [{"id": "tiny", "max_model_len": null}]}',
    "a length that is none": '{"data": [{"id": "tiny", "max_model_len": "long"}]}',
    "no model": '{"data": []}',
}


@asynccontextmanager
async def answering(models: str) -> AsyncIterator[Place]:
    """A real server that is well, and answers with `models` where it is asked which there are."""

    async def answer(request: web.Request) -> web.Response:
        return web.Response(text=models if request.path == "/v1/models" else '{"version": "1"}')

    async with _server(web.get("/{path:.*}", answer)) as place:
        yield place


@asynccontextmanager
async def _server(*routes: web.RouteDef) -> AsyncIterator[Place]:
    app, port = web.Application(), free_port()
    app.add_routes(routes)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port).start()
        yield Place(f"http://127.0.0.1:{port}")
    finally:
        await runner.cleanup()


@pytest.mark.parametrize("models", STRANGE.values(), ids=STRANGE.keys())
async def test_what_is_not_vllm_is_the_models_absence(make_settings: MakeSettings, models: str) -> None:
    async with answering(models) as place:
        mllm = Mllm.connect(make_settings(), place)
        with pytest.raises(ModelUnavailable):
            await mllm.served()
        await mllm.close()


@pytest.mark.parametrize("models", ["<html>", "[]", "{}", '{"data": null}', '{"data": ["tiny"]}'])
async def test_no_adapters_are_read_from_what_is_not_vllm(make_settings: MakeSettings, models: str) -> None:
    async with answering(models) as place:
        mllm = Mllm.connect(make_settings(), place)
        with pytest.raises(ModelUnavailable):
            await mllm.adapters()
        await mllm.close()


SAMPLING = Sampling(max_tokens=8, temperature=0.5)
COMPLETION = {"choices": [{"finish_reason": "stop", "message": {"content": "a red ring"}}]}


def _near(size: int) -> st.SearchStrategy[int]:
    return st.integers(size - 4, size + 4)


def _expected(model: str, question: Question) -> dict[str, Any]:
    content: list[dict[str, Any]] = [{"type": "text", "text": question.prompt}]
    if question.png is not None:
        uri = "data:image/png;base64," + base64.b64encode(question.png).decode()
        content.insert(0, {"type": "image_url", "image_url": {"url": uri}})
    sampling = question.sampling
    body = {
        "model": model,
        "messages": [{"role": "user", "content": content}],
        "max_tokens": sampling.max_tokens,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "top_k": sampling.top_k,
        "seed": question.seed,
    }
    return body if question.twin is None else {**body, "vllm_xargs": question.twin.xargs()}


@given(
    size=st.one_of(st.none(), *map(_near, (4, _PIECE_BYTES, _WHOLE_BYTES, 6 * _PIECE_BYTES, 7 * _PIECE_BYTES))),
    words=st.tuples(*[st.sampled_from(["ring", "größer", '{"url": "data:image/png;base64,', '"}}', "\\"])] * 2),
    twin=st.sampled_from([None, Twin("one", "grounded", 0.5)]),
    seed=st.integers(0, 2**31),
)
async def test_a_request_is_the_json_of_all_of_it_whatever_the_images_size(
    size: int | None, words: tuple[str, str], twin: Twin | None, seed: int
) -> None:
    received: list[bytes] = []
    declared: list[tuple[str, int | None]] = []

    async def receive(request: web.Request) -> web.Response:
        declared.append((request.content_type, request.content_length))
        received.append(b"".join([piece async for piece in request.content.iter_any()]))
        return web.json_response(COMPLETION)

    model, prompt = words
    png = None if size is None else (seed.to_bytes(7, "big") * (size // 7 + 1))[:size]
    question = Question(prompt, png, SAMPLING, seed, twin)
    async with _server(web.post("/v1/chat/completions", receive)) as place:
        mllm = Mllm.connect(load_settings(), place)
        answer = await mllm.ask(model, question)
        await mllm.close()
    assert answer.text == "a red ring"
    assert received == [json.dumps(_expected(model, question)).encode()]
    assert declared == [("application/json", len(received[0]))]


async def test_the_requests_of_pairs_that_wait_hold_no_copy_of_a_large_image(make_settings: MakeSettings) -> None:
    """Two requests with its image a pair, to a server that reads them and keeps nothing."""
    pairs, size = 4, 2**23
    has_all, may_answer, read = asyncio.Event(), asyncio.Event(), 0

    async def receive(request: web.Request) -> web.Response:
        nonlocal read
        async for _ in request.content.iter_any():
            pass
        read += 1
        if read == 2 * pairs:
            has_all.set()
        await may_answer.wait()
        return web.json_response(COMPLETION)

    async with _server(web.post("/v1/chat/completions", receive)) as place:
        mllm = Mllm.connect(make_settings(), place)
        images = [bytes([number]) * size for number in range(pairs)]
        tracemalloc.start()
        try:
            asked = [
                asyncio.create_task(mllm.ask("tiny", Question("What is it?", png, SAMPLING, seed)))
                for png in images
                for seed in range(2)
            ]
            await has_all.wait()
            waiting, most = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        may_answer.set()
        await asyncio.gather(*asked)
        await mllm.close()
    assert most < pairs * size / 2, "while they are sent"
    assert waiting < pairs * size / 10, "while they wait"
