"""Adapters in the running vLLM, loaded for their evaluation and unloaded after it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx

from judgefree.mistakes import PartFailed
from pairs.settings import Settings


@asynccontextmanager
async def served(settings: Settings, name: str, folder: Path) -> AsyncIterator[None]:
    """The adapter in `folder`, an absolute path, under `name`, while the context lasts.

    What an earlier run left under that name is replaced. Raises PartFailed when vLLM cannot have it.
    """
    async with httpx.AsyncClient(base_url=settings.mllm_url, timeout=settings.mllm_timeout_s, trust_env=False) as http:
        try:
            if name in await _names(http):
                await http.post("/v1/unload_lora_adapter", json={"lora_name": name})
            request = {"lora_name": name, "lora_path": str(folder)}
            answer = await http.post("/v1/load_lora_adapter", json=request)
            if answer.is_error:
                said = f"vLLM cannot load adapter {name} (HTTP {answer.status_code}); is max_lora_rank set?"
                raise PartFailed(said)
            yield
            await http.post("/v1/unload_lora_adapter", json={"lora_name": name})
        except httpx.TransportError as error:
            raise PartFailed(f"No vLLM answers at {settings.mllm_url}.") from error


async def _names(http: httpx.AsyncClient) -> list[str]:
    return [str(model["id"]) for model in (await http.get("/v1/models")).json()["data"]]
