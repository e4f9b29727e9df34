"""A LoRA adapter on the request, over HTTP: both members of a pair are answered by the adapted model."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
import torch
from PIL.Image import Image

from tests.mllm.client import Client, client_of, xargs
from tests.mllm.forked import forked
from tests.mllm.server import MllmServer
from tests.mllm.test_families import RATIOS
from tests.mllm.test_paired_decoding import is_same_or_tied
from workers.mllm.reference import TwoPass

PROMPT = "Describe the image."
MAX_TOKENS = 32
RANK = 8
ADAPTER = "adapted"


@pytest.fixture(scope="module")
def adapter(mllm_folder: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as PEFT saves it: random low-rank changes to every linear layer of the demo's language model."""
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(3)
    config = LoraConfig(r=RANK, lora_alpha=RANK, init_lora_weights=False, target_modules=r".*language_model.*_proj")
    folder = tmp_path_factory.mktemp("adapter")
    get_peft_model(TwoPass(mllm_folder).model, config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def merged(mllm_folder: str, adapter: Path, tmp_path_factory: pytest.TempPathFactory) -> TwoPass:
    """The reference with the adapter merged into its weights."""
    from peft import PeftModel

    base = TwoPass(mllm_folder)
    folder = tmp_path_factory.mktemp("merged")
    PeftModel.from_pretrained(base.model, adapter).merge_and_unload().save_pretrained(folder)
    base.processor.save_pretrained(folder)
    return TwoPass(folder)


@pytest.fixture(scope="module")
def server(mllm_folder: str, adapter: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MllmServer]:
    flags = ["--max-loras", "1", "--max-lora-rank", str(RANK)]  # every slot is taken, and rows without one get none
    flags += ["--lora-modules", f"{ADAPTER}={adapter}"]
    with forked(mllm_folder, *flags, log=tmp_path_factory.mktemp("lora") / "vllm.log") as started:
        yield started


@pytest_asyncio.fixture
async def mllm(server: MllmServer) -> AsyncIterator[Client]:
    async with client_of(server) as client:
        yield client


@pytest.mark.parametrize("ratio", RATIOS)
async def test_twins_of_an_adapter_are_the_reference_with_the_adapter_merged(
    mllm: Client, reference: TwoPass, merged: TwoPass, scenes: list[Image], ratio: float
) -> None:
    """Pairs of the base model are in flight beside them, and stay its own."""
    fields = {"prompt": PROMPT, "max_tokens": MAX_TOKENS}
    adapted, base = await asyncio.gather(
        asyncio.gather(*(mllm.ask_pair(scene, ratio, model=ADAPTER, **fields) for scene in scenes[:4])),
        asyncio.gather(*(mllm.ask_pair(scene, ratio, **fields) for scene in scenes[:4])),
    )
    for scene, changed, unchanged in zip(scenes, adapted, base, strict=False):
        for (grounded, blind), model in ((changed, merged), (unchanged, reference)):
            assert grounded.token_ids == blind.token_ids
            assert is_same_or_tied(grounded, model.answer(PROMPT, scene, ratio, MAX_TOKENS))
        assert changed[0].token_ids != unchanged[0].token_ids


async def test_twins_with_different_adapters_are_told_so(mllm: Client, scenes: list[Image]) -> None:
    grounded, blind = await asyncio.gather(
        mllm.ask(scenes[0], model=ADAPTER, vllm_xargs=xargs("torn", "grounded", 0.5)),
        mllm.ask(None, vllm_xargs=xargs("torn", "blind", 0.5)),
    )
    for answer in (grounded, blind):
        assert answer.finish_reason == "abort"
        assert answer.stop_reason == "Twin 'torn': its members disagree on adapter."
