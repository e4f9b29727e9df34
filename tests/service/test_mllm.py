"""What answers where vLLM should be, and is not vLLM as it is known here, is taken for the model's absence."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from pairs.errors import ModelUnavailable
from pairs.places import Place
from service.mllm import Mllm
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

    app, port = web.Application(), free_port()
    app.router.add_get("/{path:.*}", answer)
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
