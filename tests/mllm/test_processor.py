"""The logits processor on vLLM's own batch updates: rows that come, go, move and swap."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from vllm import SamplingParams
from vllm.v1.sample.logits_processor import BatchUpdate, MoveDirectionality

from tests.mllm.client import xargs
from workers.mllm.processor import PairedDecoding

VOCAB = 13


@pytest.fixture
def processor() -> PairedDecoding:
    config = SimpleNamespace(model_config=SimpleNamespace(get_vocab_size=lambda: VOCAB), lora_config=None)
    return PairedDecoding(config, torch.device("cpu"), is_pin_memory=False)


def params(twin: str, role: str, ratio: float = 0.5, **fields: float) -> SamplingParams:
    return SamplingParams(extra_args=xargs(twin, role, ratio), **({"temperature": 0.0} | fields))


def update(processor: PairedDecoding, **changes: list[Any]) -> None:
    processor.update_state(BatchUpdate(batch_size=8, **({"removed": [], "added": [], "moved": []} | changes)))


def test_both_rows_get_the_blend_and_other_rows_nothing(processor: PairedDecoding) -> None:
    plain = SamplingParams(temperature=0.0)
    rows = [params("a", "blind"), plain, params("b", "grounded", 0.2), params("a", "grounded")]
    update(processor, added=[(row, given, [], []) for row, given in enumerate(rows)])
    logits = torch.randn(4, VOCAB)
    applied = processor.apply(logits.clone())
    torch.testing.assert_close(applied[0], 0.5 * logits[3] + 0.5 * logits[0])
    assert torch.equal(applied[3], applied[0])
    assert torch.equal(applied[1], logits[1])
    assert torch.equal(applied[2], logits[2]), "a member without its twin is left alone"


def test_rows_are_followed_as_they_move(processor: PairedDecoding) -> None:
    added: list[Any] = [(0, params("a", "grounded"), [], []), (1, params("a", "blind", 0.5), [], [])]
    update(processor, added=added)
    update(processor, moved=[(0, 3, MoveDirectionality.UNIDIRECTIONAL)])
    update(processor, moved=[(1, 3, MoveDirectionality.SWAP)])
    logits = torch.randn(4, VOCAB)
    applied = processor.apply(logits.clone())
    assert torch.equal(applied[1], applied[3])
    torch.testing.assert_close(applied[1], (logits[1] + logits[3]) / 2)
    update(processor, removed=[3])
    assert torch.equal(processor.apply(logits.clone()), logits)


def test_a_draw_leaves_one_token_in_both_rows_and_repeats_by_seed_and_step(processor: PairedDecoding) -> None:
    sampled: list[int] = []
    hot = {"temperature": 1.0, "seed": 5, "top_k": 4}
    update(
        processor, added=[(0, params("a", "grounded", **hot), [], sampled), (1, params("a", "blind", **hot), [], [])]
    )
    logits = torch.randn(2, VOCAB)
    allowed = set((logits[0] + logits[1]).topk(4).indices.tolist())
    seen = []
    for step in range(40):
        sampled[:] = range(step)
        first, again = processor.apply(logits.clone()), processor.apply(logits.clone())
        assert torch.equal(first, again)
        assert torch.equal(first[0], first[1])
        assert first[0].isfinite().sum() == 1
        seen.append(int(first[0].argmax()))
    assert set(seen) <= allowed
    assert len(set(seen)) > 1
