"""Many twins and many ordinary requests at once, each as if it were alone."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from random import Random
from typing import Any

import pytest
from PIL.Image import Image

from tests.mllm.client import PROMPT, Answer, Client, client_of, xargs
from tests.mllm.forked import forked
from tests.mllm.server import MllmServer
from tests.mllm.test_paired_decoding import is_same_or_tied
from workers.mllm.reference import TwoPass

PAIRS = 256
RATIOS = (-0.5, 0.6)
ARRIVALS_S = 8.0
LARGEST_GAP_S = 1.0
CLIENTS = 16
"""httpx looks at every connection of a client for every request: one client for all would be the bottleneck."""
MAX_TOKENS = 12
"""Enough for the answers to part: the demo's vary from the fourth token on."""


@pytest.fixture(scope="module")
def plain_server(mllm_folder: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MllmServer]:
    """vLLM without the scheduler and the logits processor, else the same."""
    with forked(mllm_folder, log=tmp_path_factory.mktemp("plain") / "vllm.log", mode="plain") as server:
        yield server


@asynccontextmanager
async def many_clients(server: MllmServer) -> AsyncIterator[list[Client]]:
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(client_of(server)) for _ in range(CLIENTS)]


async def traffic(
    clients: list[Client], scenes: list[Image], asked: list[tuple[int, float]]
) -> tuple[list[tuple[Answer, Answer]], list[Answer]]:
    """The answers to PAIRS pairs, of the scenes and ratios `asked` in turn, and to as many ordinary requests.

    All arrive at random moments of ARRIVALS_S, the members of a pair up to LARGEST_GAP_S apart, in either order.
    """
    chance = Random(4)

    async def ask(number: int, delay_s: float, image: Image | None, **fields: Any) -> Answer:
        await asyncio.sleep(delay_s)
        return await clients[number % CLIENTS].ask(image, max_tokens=MAX_TOKENS, **fields)

    async def pair(number: int, start_s: float, gap_s: float) -> tuple[Answer, Answer]:
        k, ratio = asked[number % len(asked)]
        grounded, blind = (xargs(f"twin {number}", role, ratio) for role in ("grounded", "blind"))
        first, second = await asyncio.gather(
            ask(number, start_s + max(gap_s, 0), scenes[k], vllm_xargs=grounded),
            ask(number, start_s + max(-gap_s, 0), None, vllm_xargs=blind),
        )
        return first, second

    pairs = [
        pair(k, chance.uniform(0, ARRIVALS_S), chance.uniform(-LARGEST_GAP_S, LARGEST_GAP_S)) for k in range(PAIRS)
    ]
    others = [ask(k, chance.uniform(0, ARRIVALS_S), scenes[k % len(scenes)]) for k in range(PAIRS)]
    answered, plain = await asyncio.gather(asyncio.gather(*pairs), asyncio.gather(*others))
    return answered, plain


async def test_256_pairs_among_256_ordinary_requests_are_answered_as_if_each_were_alone(
    any_mllm: Client, plain_server: MllmServer, reference: TwoPass, scenes: list[Image]
) -> None:
    short = {"max_tokens": MAX_TOKENS}
    async with client_of(plain_server) as plain:
        plain_alone = [await plain.ask(scene, **short) for scene in scenes]
    asked = [(k, ratio) for k in range(len(scenes)) for ratio in RATIOS]
    alone = {(k, ratio): (await any_mllm.ask_pair(scenes[k], ratio, **short))[0] for k, ratio in asked}
    async with many_clients(any_mllm.server) as clients:
        pairs, others = await traffic(clients, scenes, asked)
    for number, (grounded, blind) in enumerate(pairs):
        k, ratio = asked[number % len(asked)]
        assert grounded.token_ids == blind.token_ids != []
        assert grounded.finish_reason == blind.finish_reason == alone[k, ratio].finish_reason
        if grounded.token_ids != alone[k, ratio].token_ids:
            assert is_same_or_tied(grounded, reference.answer(PROMPT, scenes[k], ratio, MAX_TOKENS))
    for number, answer in enumerate(others):
        k = number % len(scenes)
        if answer.token_ids != plain_alone[k].token_ids:
            assert is_same_or_tied(answer, reference.answer(PROMPT, scenes[k], 0.0, MAX_TOKENS))
    await any_mllm.settled()
