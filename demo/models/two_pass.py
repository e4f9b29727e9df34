"""Blend decoding as the paper's equation says it, in two passes a step: the reference that the demo is measured with.

Every step scores the same text so far twice, with the image and without, and takes the next token from
(1 - h) * grounded + h * blind. Batched over scenes, with a key-value cache for each of the two contexts.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import LlavaForConditionalGeneration

from demo.captions import DEFAULT_PROMPT
from demo.models.mllm import prompt_ids
from demo.models.tokenizer import language_tokenizer
from demo.worlds import World

MAX_TOKENS = 96


def blend(grounded: Tensor, blind: Tensor, ratio: Tensor) -> Tensor:
    """(1 - h) * grounded + h * blind: logits [scenes, vocab] each, ratio [scenes, 1]."""
    return (1 - ratio) * grounded + ratio * blind


@torch.inference_mode()
def decode(
    model: LlavaForConditionalGeneration, world: World, pixels: Tensor, ratios: Tensor, prompt: str = DEFAULT_PROMPT
) -> list[tuple[str, bool]]:
    """Greedy answers of up to 96 tokens to one prompt about many images, each at its own hallucination ratio.

    pixels: [scenes, 3, 48, 48] float32 normalised; ratios: [scenes] float32. Returns text and whether it ended by
    itself, a scene each.
    """
    tokenizer = language_tokenizer(world)
    count, ratio = len(pixels), ratios.unsqueeze(1)
    question = torch.tensor(prompt_ids(prompt, world, with_image=True)).expand(count, -1)
    grounded = model(input_ids=question, pixel_values=pixels, use_cache=True, logits_to_keep=1)
    question = torch.tensor(prompt_ids(prompt, world, with_image=False)).expand(count, -1)
    blind = model(input_ids=question, use_cache=True, logits_to_keep=1)
    ended = torch.zeros(count, dtype=torch.bool)
    answers: list[Tensor] = []
    for _ in range(MAX_TOKENS):
        tokens = blend(grounded.logits[:, -1], blind.logits[:, -1], ratio).argmax(-1)
        tokens = torch.where(ended, torch.tensor(tokenizer.pad_token_id), tokens)
        answers.append(tokens)
        ended |= tokens == tokenizer.eos_token_id
        if bool(ended.all()):
            break
        grounded, blind = _step(model, tokens, grounded), _step(model, tokens, blind)
    texts: list[str] = tokenizer.batch_decode(torch.stack(answers, 1), skip_special_tokens=True)
    return list(zip(texts, ended.tolist(), strict=True))


def _step(model: LlavaForConditionalGeneration, tokens: Tensor, before: Any) -> Any:
    return model(input_ids=tokens.unsqueeze(1), past_key_values=before.past_key_values, use_cache=True)
