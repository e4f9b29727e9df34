"""Lockstep where everything runs short: KV blocks, places in the batch, tokens in a step."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL.Image import Image

from tests.mllm.client import MAX_TOKENS, PROMPT, client_of
from tests.mllm.forked import Mode, forked
from tests.mllm.server import MllmServer
from tests.mllm.test_paired_decoding import is_same_or_tied
from workers.mllm.reference import TwoPass

STEP_TOKENS = 24
"""Fewer than the 36 of one image."""


@pytest.fixture(scope="module", params=[("synchronous", 5, 12), ("asynchronous", 3, 8)])
def cramped(
    request: pytest.FixtureRequest, mllm_folder: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[MllmServer]:
    """5 or 3 places; 12 or 8 blocks of 32 tokens, where a pair grows to 6; an image takes two steps."""
    mode, seats, blocks = request.param
    flags = ["--num-gpu-blocks-override", str(blocks), "--max-model-len", "160", "--max-num-seqs", str(seats)]
    flags += ["--max-num-batched-tokens", str(STEP_TOKENS)]
    log = tmp_path_factory.mktemp("cramped") / "vllm.log"
    with forked(mllm_folder, *flags, log=log, mode=mode) as server:
        yield server


async def test_pairs_stay_exact_through_preemption_and_chunked_prefill(
    cramped: MllmServer, reference: TwoPass, scenes: list[Image]
) -> None:
    async with client_of(cramped) as mllm:
        pairs, plain = await asyncio.gather(
            asyncio.gather(*(mllm.ask_pair(scene, 0.6) for scene in scenes[:12])),
            asyncio.gather(*(mllm.ask(scene) for scene in scenes[:12])),
        )
        await mllm.settled()
    assert cramped.metric("vllm:num_preemptions_total") > 0
    for scene, (grounded, blind), ordinary in zip(scenes, pairs, plain, strict=False):
        assert grounded.token_ids == blind.token_ids
        assert is_same_or_tied(grounded, reference.answer(PROMPT, scene, 0.6, MAX_TOKENS))
        assert is_same_or_tied(ordinary, reference.answer(PROMPT, scene, 0.0, MAX_TOKENS))


async def test_sampled_pairs_come_through_preemption_with_the_tokens_that_they_draw_alone(
    cramped: MllmServer, scenes: list[Image]
) -> None:
    fields = {"temperature": 1.0, "top_p": 0.95, "ignore_eos": True}  # all of them grow as long as they may
    async with client_of(cramped) as mllm:
        alone = [await mllm.ask_pair(scene, 0.6, seed=seed, **fields) for seed, scene in enumerate(scenes[:8])]
        preemptions = cramped.metric("vllm:num_preemptions_total")
        among, _ = await asyncio.gather(
            asyncio.gather(*(mllm.ask_pair(scene, 0.6, seed=seed, **fields) for seed, scene in enumerate(scenes[:8]))),
            asyncio.gather(*(mllm.ask(scene, ignore_eos=True) for scene in scenes[:8])),
        )
        await mllm.settled()
    assert cramped.metric("vllm:num_preemptions_total") > preemptions
    assert all(grounded.token_ids == blind.token_ids for grounded, blind in alone)
    assert [answer.token_ids for pair in among for answer in pair] == [a.token_ids for pair in alone for a in pair]


@pytest.mark.parametrize("mode", ["synchronous", "asynchronous"])
async def test_a_server_with_two_places_serves_pairs_and_others_in_turn(
    mllm_folder: str, reference: TwoPass, scenes: list[Image], tmp_path: Path, mode: Mode
) -> None:
    with forked(mllm_folder, "--max-num-seqs", "2", log=tmp_path / "vllm.log", mode=mode) as server:
        async with client_of(server) as mllm:
            pairs, plain = await asyncio.gather(
                asyncio.gather(*(mllm.ask_pair(scene, 0.6) for scene in scenes[:6])),
                asyncio.gather(*(mllm.ask(scene) for scene in scenes[:6])),
            )
            await mllm.settled()
    for scene, (grounded, blind), ordinary in zip(scenes, pairs, plain, strict=False):
        assert grounded.token_ids == blind.token_ids
        assert is_same_or_tied(grounded, reference.answer(PROMPT, scene, 0.6, MAX_TOKENS))
        assert is_same_or_tied(ordinary, reference.answer(PROMPT, scene, 0.0, MAX_TOKENS))
