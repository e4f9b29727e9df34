"""A whole server on vLLM's V2 model runner, its kernels interpreted: for environments that have Triton."""

import asyncio
from pathlib import Path

import pytest
from PIL import Image

from tests.mllm.client import PROMPT, client_of
from tests.mllm.server import serving
from workers.mllm.reference import TwoPass

pytest.importorskip("triton", reason="requirements.lock leaves Triton out, which has a gigabyte and no CPU build")

FLAGS = ("--max-num-seqs", "16", "--max-num-batched-tokens", "256", "--max-model-len", "256")
RATIOS = (-0.5, 0.0, 0.6)


async def test_twins_on_the_v2_runner_equal_the_reference(
    mllm_folder: str, reference: TwoPass, scenes: list[Image.Image], tmp_path: Path
) -> None:
    log = tmp_path / "vllm.log"
    with serving(mllm_folder, *FLAGS, log=log, module="tests.mllm.interpreted") as server:
        async with client_of(server) as client:
            asked = [(scene, h) for scene in scenes[:2] for h in RATIOS]
            greedy = [client.ask_pair(scene, h, max_tokens=40) for scene, h in asked]
            drawn = [client.ask_pair(scene, 0.6, temperature=0.8, min_p=0.05, seed=3) for scene in scenes[:2]]
            answers = await asyncio.gather(*greedy, *drawn)
    for grounded, blind in answers:
        assert grounded.finish_reason in {"stop", "length"}
        assert grounded.token_ids == blind.token_ids
    for (scene, h), (grounded, _) in zip(asked, answers, strict=False):
        expected = reference.answer(PROMPT, scene, h, 40)
        assert grounded.text.strip() == expected.text
    assert "Using V2 Model Runner" in log.read_text()
    assert "Batch queue is enabled" in log.read_text(), "asynchronous scheduling is on"
