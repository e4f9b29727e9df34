"""The two-pass reference: what paired decoding must equal, as a plain Hugging Face loop. Batch 1, KV cache, greedy.

This is the specification. It loads a model as `transformers` does, keeps one cache for the prompt with the image and
one for the prompt without, and appends the same token to both.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pairs.torchvision_cpu import declare_missing_ops

declare_missing_ops()

from transformers import AutoModelForImageTextToText, AutoProcessor  # noqa: E402 - it imports torchvision


@dataclass(frozen=True, slots=True)
class Decoded:
    """An answer: its text, its token ids, and at each step the lead of the best logit over the second best."""

    text: str
    token_ids: list[int]
    leads: list[float]


class TwoPass:
    """A model in float32 and its processor, asked one image at a time.

    folder: a Hugging Face folder or name.
    """

    def __init__(self, folder: Path | str) -> None:
        self.processor: Any = AutoProcessor.from_pretrained(folder)
        model = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32)
        self.model: Any = model.eval()

    def inputs(self, prompt: str, image: Any | None) -> dict[str, Tensor]:
        """What the model reads for a question: input_ids [1, tokens], and pixel_values when there is an image.

        The chat template writes the start token, so no special tokens are added to what it wrote.
        """
        content = [{"type": "text", "text": prompt}]
        if image is not None:
            content.insert(0, {"type": "image"})
        text = self.processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
        inputs = self.processor(text=text, images=image, return_tensors="pt", add_special_tokens=False)
        return {name: inputs[name] for name in ("input_ids", "pixel_values") if name in inputs}

    @torch.inference_mode()
    def answer(self, prompt: str, image: Any, ratio: float, max_tokens: int) -> Decoded:
        """Greedy decoding from `(1 - ratio) * grounded + ratio * blind`, up to the end token or `max_tokens`."""
        grounded = self.model(**self.inputs(prompt, image), use_cache=True)
        blind = self.model(**self.inputs(prompt, None), use_cache=True)
        tokens: list[int] = []
        leads: list[float] = []
        while len(tokens) < max_tokens:
            logits = (1 - ratio) * grounded.logits[0, -1] + ratio * blind.logits[0, -1]
            best, second = logits.topk(2).values.tolist()
            leads.append(best - second)
            tokens.append(int(logits.argmax()))
            if tokens[-1] == self.model.generation_config.eos_token_id:
                break
            token = torch.tensor([[tokens[-1]]])
            grounded = self.model(input_ids=token, past_key_values=grounded.past_key_values, use_cache=True)
            blind = self.model(input_ids=token, past_key_values=blind.past_key_values, use_cache=True)
        text = self.processor.tokenizer.decode(tokens, skip_special_tokens=True)
        return Decoded(text.strip(), tokens, leads)
