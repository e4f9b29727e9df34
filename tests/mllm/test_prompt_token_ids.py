"""The tokens of a prompt are the same to vLLM, to the reference and to TRL's trainer, the start token included."""

from typing import Any

import pytest
from PIL.Image import Image

from tests.mllm.client import PROMPT, Client
from workers.mllm.reference import TwoPass


def ids_of_trainer(processor: Any, scene: Image) -> list[int]:
    """The prompt as TRL's collator for vision DPO gives it to the model."""
    from trl.trainer.dpo_trainer import DataCollatorForVisionPreference

    collator = DataCollatorForVisionPreference(processor)
    user = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": PROMPT}]}
    chosen, rejected = (
        [{"role": "assistant", "content": [{"type": "text", "text": text}]}] for text in ("A red ring.", "A blue disc.")
    )
    batch = collator([{"images": [scene], "prompt": [user], "chosen": chosen, "rejected": rejected}])
    mask = batch["completion_mask"][0]
    ids: list[int] = batch["input_ids"][0][: int(mask.argmax())].tolist()
    return ids


async def test_prompt_tokens_are_the_same_everywhere(mllm: Client, reference: TwoPass, scenes: list[Image]) -> None:
    served = (await mllm.ask(scenes[0])).prompt_token_ids
    assert served == reference.inputs(PROMPT, scenes[0])["input_ids"][0].tolist()
    assert served == ids_of_trainer(reference.processor, scenes[0])
    assert served[0] == reference.processor.tokenizer.bos_token_id
    assert served.count(reference.processor.tokenizer.bos_token_id) == 1


async def test_blind_prompt_tokens_are_those_of_the_reference(mllm: Client, reference: TwoPass) -> None:
    served = (await mllm.ask(None)).prompt_token_ids
    assert served == reference.inputs(PROMPT, None)["input_ids"][0].tolist()


@pytest.mark.parametrize("prompt", ["What is there?", "List everything, please: rings and discs.", "zebra"])
async def test_any_prompt_is_tokenised_alike(
    mllm: Client, reference: TwoPass, scenes: list[Image], prompt: str
) -> None:
    served = (await mllm.ask(scenes[0], prompt=prompt, max_tokens=1)).prompt_token_ids
    assert served == reference.inputs(prompt, scenes[0])["input_ids"][0].tolist()
