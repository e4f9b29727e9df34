"""The two contexts of a pair with its image have image and prompt in memory once, by vLLM's own count of hits."""

import asyncio
import re
from uuid import uuid4

from aiohttp import ClientSession

from pairs.places import Place
from service.mllm import Mllm
from service.pairer import answers
from tests.conftest import MakeSettings
from tests.e2e.scenes import scene_pngs
from tests.examples import a_job

_BLOCK_TOKENS = 32
"""Of the KV cache of vLLM as it is started on a CPU."""


async def _hits(url: str) -> float:
    async with ClientSession() as http, http.get(f"{url}/metrics") as response:
        told = re.findall(r"^vllm:prefix_cache_hits_total\{.*\} (\S+)$", await response.text(), re.MULTILINE)
    return sum(map(float, told))


async def test_the_contexts_of_a_pair_with_its_image_share_what_they_begin_with(
    make_settings: MakeSettings, mllm_url: str
) -> None:
    """All whole blocks but for the last two tokens, which a twin computes anew; the blind twin has nothing of it."""
    job, [png] = a_job(), scene_pngs(1, seed=uuid4().int % 2**31)
    before = await _hits(mllm_url)
    mllm = Mllm.connect(make_settings(), Place(mllm_url))
    served = await mllm.served()
    prompt = await mllm.count_tokens(served.name, job.prompt, png)
    await answers(mllm, served.name, job, png, asyncio.Semaphore(1))
    await mllm.close()
    assert await _hits(mllm_url) - before == (prompt - 2) // _BLOCK_TOKENS * _BLOCK_TOKENS > 0
