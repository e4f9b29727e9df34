"""The text tower on no more tokens than it needs: sentences are short, and its context is not.

A causal tower that reads its answer off the end token does not see what is after it, so the padding may be left out.
open_clip's own `encode_text` always runs the whole context (77 tokens for OpenAI's models).
"""

from collections.abc import Callable
from typing import Any

import open_clip
import torch
from torch import Tensor
from torch.func import functional_call

TextTower = Callable[[Tensor], Tensor]
"""[n, context] token ids to [n, dim] features of unit length."""


def text_tower(model: Any) -> TextTower:
    """The text tower of an open_clip model: without the padding where that changes nothing, else as it is."""
    end_of = _end_of(model)
    if end_of is None:
        return lambda tokens: model.encode_text(tokens, normalize=True)

    def encode(tokens: Tensor) -> Tensor:
        """Rows that end alike early or late go together: [n, context] in, [n, dim] out."""
        ends, order = end_of(tokens).sort()
        rows = _ROWS[tokens.device.type]
        parts = zip(torch.split(tokens[order], rows), torch.split(ends, rows), strict=True)
        features = torch.cat([_cut(model, part, int(last[-1]) + 1) for part, last in parts])
        return torch.empty_like(features).index_copy_(0, order, features)

    return encode


_ROWS = {"cpu": 64, "cuda": 1024}
"""Rows of like length that go together: on a CPU few enough for its cache."""


def _cut(model: Any, tokens: Tensor, longest: int) -> Tensor:
    shorter = {
        "positional_embedding": model.positional_embedding[:longest],
        "attn_mask": model.attn_mask[:longest, :longest],
    }
    answer = functional_call(model, shorter, kwargs={"image": None, "text": tokens[:, :longest]})
    features: Tensor = answer["text_features"] if isinstance(answer, dict) else answer[1]
    return features


def _end_of(model: Any) -> Callable[[Tensor], Tensor] | None:
    """Where the token stands that the tower's answer is read from, for each row; None where the rest is seen too."""
    if type(model) is not open_clip.CLIP or model.attn_mask is None or not _is_causal(model.attn_mask):
        return None
    match model.text_pool_type:
        case "argmax":
            return lambda tokens: tokens.argmax(dim=-1)
        case "eos":
            return lambda tokens: (tokens == model.text_eos_id).int().argmax(dim=-1)
    return None


def _is_causal(mask: Tensor) -> bool:
    """Whether an additive [n, n] mask hides every later token."""
    later = torch.ones_like(mask, dtype=torch.bool).triu(1)
    return bool(torch.isneginf(mask[later]).all())
