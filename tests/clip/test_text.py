"""The text tower without padding answers as open_clip's own, and looks at fewer tokens where it may."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pairs.torchvision_cpu import declare_missing_ops

declare_missing_ops()
import open_clip  # noqa: E402

from workers.clip.text import text_tower  # noqa: E402 - it imports open_clip

CONTEXT, END = 16, 40
VISION = {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 8}
LENGTHS = st.lists(st.integers(1, CONTEXT), min_size=1, max_size=150)


def a_model(kind: str = "CLIP", **text: Any) -> Any:
    torch.manual_seed(3)
    whole = {"context_length": CONTEXT, "vocab_size": END + 1, "width": 32, "heads": 2, "layers": 2} | text
    return getattr(open_clip, kind)(embed_dim=24, vision_cfg=VISION, text_cfg=whole).eval()


def rows(lengths: list[int]) -> Tensor:
    """Rows of arbitrary tokens, each with its end token at `length` - 1 and padding behind it."""
    generator = torch.Generator().manual_seed(sum(lengths))
    tokens = torch.zeros((len(lengths), CONTEXT), dtype=torch.long)
    for row, length in enumerate(lengths):
        tokens[row, : length - 1] = torch.randint(1, END, (length - 1,), generator=generator)
        tokens[row, length - 1] = END
    return tokens


def tokens_seen(model: Any, tokens: Tensor) -> int:
    seen = []
    hook = model.token_embedding.register_forward_pre_hook(lambda _, given: seen.append(given[0].numel()))
    with torch.inference_mode():
        text_tower(model)(tokens)
    hook.remove()
    return sum(seen)


READ_AT_THE_END = [a_model(), a_model(pool_type="eos", eos_id=END)]


@pytest.mark.parametrize("model", READ_AT_THE_END, ids=["argmax", "eos"])
@settings(max_examples=30)
@given(LENGTHS)
def test_features_are_open_clips_own(model: Any, lengths: list[int]) -> None:
    tokens = rows(lengths)
    with torch.inference_mode():
        torch.testing.assert_close(
            text_tower(model)(tokens), model.encode_text(tokens, normalize=True), rtol=1e-5, atol=1e-5
        )


@pytest.mark.parametrize("model", READ_AT_THE_END, ids=["argmax", "eos"])
def test_short_rows_cost_no_more_than_the_longest_beside_them(model: Any) -> None:
    assert tokens_seen(model, rows([3, 5, 4])) == 3 * 5
    assert tokens_seen(model, rows([3] * 64 + [CONTEXT] * 2)) == 64 * 3 + 2 * CONTEXT


@pytest.mark.parametrize("text", [{"pool_type": "last"}, {"no_causal_mask": True}], ids=str)
def test_a_tower_that_sees_the_padding_gets_it(text: dict[str, Any]) -> None:
    model = a_model(**text)
    tokens = rows([3, 5])
    with torch.inference_mode():
        assert torch.equal(text_tower(model)(tokens), model.encode_text(tokens, normalize=True))
    assert tokens_seen(model, tokens) == 2 * CONTEXT


def test_a_tower_of_another_kind_is_left_alone() -> None:
    model = a_model("CustomTextCLIP")
    with torch.inference_mode():
        assert torch.equal(text_tower(model)(rows([3])), model.encode_text(rows([3]), normalize=True))
