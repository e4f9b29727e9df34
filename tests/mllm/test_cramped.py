"""Lockstep where everything runs short: KV blocks, places in the batch, tokens in a step."""

import asyncio
from collections.abc import Iterator

import pytest
from PIL.Image import Image

from tests.mllm.client import MAX_TOKENS, PROMPT, client_of
from tests.mllm.server import MllmServer, serving
from tests.mllm.test_paired_decoding import is_same_or_tied
from workers.mllm.reference import TwoPass


@pytest.fixture(scope="module", params=["workers.mllm", "tests.mllm.asynchronous"])
def cramped(
    request: pytest.FixtureRequest, mllm_folder: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[MllmServer]:
    """12 blocks of 32 tokens, where a pair grows to 6; 5 places; steps shorter than one prompt with its image."""
    flags = ["--num-gpu-blocks-override", "12", "--max-model-len", "160", "--max-num-seqs", "5"]
    flags += ["--max-num-batched-tokens", "40"]
    log = tmp_path_factory.mktemp("cramped") / "vllm.log"
    module: str = request.param
    with serving(mllm_folder, *flags, log=log, module=module, environment={"VLLM_LOGGING_LEVEL": "DEBUG"}) as server:
        assert ("Batch queue is enabled" in log.read_text()) == (module == "tests.mllm.asynchronous")
        yield server


async def test_pairs_stay_exact_through_preemption_and_chunked_prefill(
    cramped: MllmServer, reference: TwoPass, scenes: list[Image]
) -> None:
    async with client_of(cramped) as mllm:
        pairs, plain = await asyncio.gather(
            asyncio.gather(*(mllm.ask_pair(scene, 0.6) for scene in scenes[:12])),
            asyncio.gather(*(mllm.ask(scene) for scene in scenes[:12])),
        )
    assert cramped.metric("vllm:num_preemptions_total") > 0
    for scene, (grounded, blind), ordinary in zip(scenes, pairs, plain, strict=False):
        assert grounded.token_ids == blind.token_ids
        assert is_same_or_tied(grounded, reference.answer(PROMPT, scene, 0.6, MAX_TOKENS))
        assert is_same_or_tied(ordinary, reference.answer(PROMPT, scene, 0.0, MAX_TOKENS))
    assert cramped.metric("vllm:kv_cache_usage_perc") == 0
