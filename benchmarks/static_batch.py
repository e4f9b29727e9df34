"""The loop one would write by hand: two passes of Hugging Face's model a step, over a batch that stands as it began."""

import time
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from pairs.torchvision_cpu import declare_missing_ops

declare_missing_ops()

from transformers import AutoModelForImageTextToText, AutoProcessor  # noqa: E402 - it imports torchvision


@dataclass(frozen=True)
class Loop:
    """A model in float32 and its processor, asked one prompt about many images."""

    processor: Any
    model: Any

    @classmethod
    def load(cls, folder: str) -> "Loop":
        model = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32)
        return cls(AutoProcessor.from_pretrained(folder), model.eval())

    @torch.inference_mode()
    def tokens_per_s(self, prompt: str, images: list[Image.Image], batch: int, ratio: float, tokens: int) -> float:
        """Blended tokens/s over `images`, `batch` at a time, `tokens` of each whatever they are, preparing included."""
        began = time.perf_counter()
        for start in range(0, len(images), batch):
            self._decode(prompt, images[start : start + batch], ratio, tokens)
        return len(images) * tokens / (time.perf_counter() - began)

    def _decode(self, prompt: str, images: list[Image.Image], ratio: float, tokens: int) -> Tensor:
        """[images, tokens] int64, greedy."""
        grounded = self.model(**self._inputs(prompt, images), use_cache=True, logits_to_keep=1)
        blind = self.model(**self._inputs(prompt, None, len(images)), use_cache=True, logits_to_keep=1)
        answers: list[Tensor] = []
        while len(answers) < tokens:
            logits = (1 - ratio) * grounded.logits[:, -1] + ratio * blind.logits[:, -1]
            answers.append(logits.argmax(dim=-1, keepdim=True))
            grounded, blind = (
                self.model(input_ids=answers[-1], past_key_values=context.past_key_values, use_cache=True)
                for context in (grounded, blind)
            )
        return torch.cat(answers, dim=1)

    def _inputs(self, prompt: str, images: list[Image.Image] | None, rows: int = 0) -> dict[str, Tensor]:
        content = [{"type": "text", "text": prompt}]
        if images is not None:
            content.insert(0, {"type": "image"})
        asked = self.processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
        texts = [asked] * (len(images) if images is not None else rows)
        inputs = self.processor(text=texts, images=images, return_tensors="pt", add_special_tokens=False)
        return {name: inputs[name] for name in ("input_ids", "pixel_values") if name in inputs}
