"""The running vLLM and its adapters: whether it takes any, and the loading of one."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx

from judgefree.mistakes import Mistake, PartFailed
from pairs.adapters import Adapter
from pairs.settings import Settings

_NO_FOLDER = "/no/such/folder"


async def require_adapters(settings: Settings, rank: int) -> None:
    """Raises Mistake where the vLLM that runs takes no adapters; one that does is wanted with `rank`.

    It is told of an adapter that is not there: one that takes adapters says that the folder is missing.
    """
    request = {"lora_name": "no-such-adapter", "lora_path": _NO_FOLDER}
    async with _connection(settings) as http:
        answer = await http.post("/v1/load_lora_adapter", json=request)
    if _NO_FOLDER not in answer.text:
        raise Mistake(
            f"The vLLM that runs at {settings.mllm_url} takes no adapters: end `judgefree up`, or start it with "
            f"`--max-lora-rank {rank}`."
        )


async def load(settings: Settings, adapter: Adapter) -> None:
    """Have vLLM load the adapter unless it has it. Raises PartFailed when it cannot."""
    request = {"lora_name": adapter.name, "lora_path": adapter.path}
    async with _connection(settings) as http:
        served = (await http.get("/v1/models")).json()["data"]
        if any(model["id"] == adapter.name for model in served):
            return
        answer = await http.post("/v1/load_lora_adapter", json=request)
    if answer.is_error:
        raise PartFailed(f"vLLM cannot load adapter {adapter.name} (HTTP {answer.status_code}); is max_lora_rank set?")


@asynccontextmanager
async def _connection(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    """Raises PartFailed where vLLM is away."""
    try:
        async with httpx.AsyncClient(
            base_url=settings.mllm_url, timeout=settings.mllm_timeout_s, trust_env=False
        ) as http:
            yield http
    except httpx.TransportError as error:
        raise PartFailed(f"No vLLM answers at {settings.mllm_url}.") from error
