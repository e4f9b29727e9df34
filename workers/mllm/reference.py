"""The two-pass reference: what paired decoding must equal, as a plain Hugging Face loop. Batch 1, KV cache, greedy.

This is the specification. It loads a model as `transformers` does, of any family that has an image-text-to-text class
and a chat template, keeps one cache for the prompt with the image and one for the prompt without, and appends the same
token to both.
"""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from itertools import chain
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


class _Context:
    """One prompt that a model has read, and the answer that it grows by."""

    def __init__(self, model: Any, inputs: dict[str, Tensor]) -> None:
        self._model = model
        self._output = model(**inputs, use_cache=True)

    @property
    def logits(self) -> Tensor:
        """Of the next token: [vocab] float32."""
        logits: Tensor = self._output.logits[0, -1]
        return logits

    def append(self, token: int) -> None:
        cache = self._output.past_key_values
        self._output = self._model(input_ids=torch.tensor([[token]]), past_key_values=cache, use_cache=True)


class TwoPass:
    """A model in float32 and its processor, asked one image at a time.

    folder: a Hugging Face folder or name.
    """

    def __init__(self, folder: Path | str) -> None:
        self.processor: Any = AutoProcessor.from_pretrained(folder)
        model = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32)
        self.model: Any = model.eval()
        # A second model on the same weights: some, such as Qwen-VL, keep the positions of the text they last read.
        shared = {id(tensor): tensor for tensor in chain(self.model.parameters(), self.model.buffers())}
        self._blind_model: Any = deepcopy(self.model, shared)

    def inputs(self, prompt: str, image: Any | None) -> dict[str, Tensor]:
        """What the model reads for a question: input_ids [1, tokens], and what the processor adds for an image.

        Without an image the chat template is given the same message less its image part, and so writes no
        placeholder. It writes the start token, so no special tokens are added to what it wrote.
        """
        content = [{"type": "text", "text": prompt}]
        if image is not None:
            content.insert(0, {"type": "image"})
        text = self.processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
        images = {} if image is None else {"images": [image]}
        return dict(self.processor(text=[text], **images, return_tensors="pt", add_special_tokens=False))

    @torch.inference_mode()
    def answer(self, prompt: str, image: Any, ratio: float, max_tokens: int) -> Decoded:
        """Greedy decoding from `(1 - ratio) * grounded + ratio * blind`, up to the end token or `max_tokens`."""
        grounded, blind = self._contexts(prompt, image)
        tokens: list[int] = []
        leads: list[float] = []
        while len(tokens) < max_tokens:
            logits = (1 - ratio) * grounded.logits + ratio * blind.logits
            best, second = logits.topk(2).values.tolist()
            leads.append(best - second)
            tokens.append(int(logits.argmax()))
            if tokens[-1] == self.model.generation_config.eos_token_id:
                break
            grounded.append(tokens[-1])
            blind.append(tokens[-1])
        text = self.processor.tokenizer.decode(tokens, skip_special_tokens=True)
        return Decoded(text.strip(), tokens, leads)

    @torch.inference_mode()
    def logits(self, prompt: str, image: Any, token_ids: Sequence[int]) -> tuple[Tensor, Tensor]:
        """(grounded, blind) logits of each token of a given answer, from what stands before it: [tokens, vocab]."""
        contexts = self._contexts(prompt, image)
        rows: list[tuple[Tensor, Tensor]] = []
        for token in token_ids:
            rows.append((contexts[0].logits, contexts[1].logits))
            for context in contexts:
                context.append(token)
        grounded, blind = zip(*rows, strict=True)
        return torch.stack(grounded), torch.stack(blind)

    def _contexts(self, prompt: str, image: Any) -> tuple[_Context, _Context]:
        grounded = _Context(self.model, self.inputs(prompt, image))
        return grounded, _Context(self._blind_model, self.inputs(prompt, None))
