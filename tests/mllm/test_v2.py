"""The V2 adapter behind vLLM's own V2 classes: request state, sampler and loader are real, batches are made up.

Temperatures are 0 or 1 here, since vLLM's sampler scales by others with a Triton kernel, which a CPU cannot run.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from vllm import SamplingParams
from vllm.config import VllmConfig
from vllm.exceptions import VLLMValidationError
from vllm.v1.sample.logits_processor import BatchUpdate
from vllm.v1.worker.cpu.buffer_utils import UvaBuffer
from vllm.v1.worker.gpu import buffer_utils
from vllm.v1.worker.gpu.sample.logits_processor import (
    build_custom_logits_processors,
    build_custom_logits_processors_params_validator,
)
from vllm.v1.worker.gpu.sample.sampler import Sampler
from vllm.v1.worker.gpu.states import RequestState

from benchmarks.processor_share import Operations
from tests.mllm.client import xargs
from workers.mllm.processor import PairedDecoding
from workers.mllm.v2 import PairedDecodingV2

VOCAB = 13
SLOTS = 12
NAME = "workers.mllm.v2:PairedDecodingV2"
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def config() -> VllmConfig:
    return VllmConfig()


@pytest.fixture(scope="module", autouse=True)
def unpinned_buffers() -> Iterator[None]:
    """vLLM's worker for CPUs puts this buffer of its own in the place of one that needs pinned memory."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(buffer_utils, "UvaBuffer", UvaBuffer)
        yield


class Engine:
    """The part of the V2 runner that a logits processor sees: slots with prompts, and a step's batch."""

    def __init__(self, config: VllmConfig, drafts: int = 0) -> None:
        self.states = RequestState(SLOTS, 64, 64, drafts, VOCAB, CPU)
        (self.processor,) = build_custom_logits_processors(config, self.states, False, [NAME])
        self.sampler = Sampler(config, SLOTS, VOCAB, CPU, self.states, custom_logits_processors=[self.processor])

    def admit(self, slot: int, params: SamplingParams, prompt: int = 3) -> None:
        self.states.prompt_len.np[slot] = prompt
        self.states.prompt_len.copy_to_uva()
        self.sampler.add_request(slot, params)

    def step(self, logits: Tensor, slots: Sequence[int], sampled: int = 0, rows: Sequence[int] | None = None) -> Tensor:
        """One step: `slots` is the batch in its order, each with one row, or with as many as `rows` says."""
        counts = np.array([1] * len(slots) if rows is None else rows)
        batch = np.array(slots, dtype=np.int64)
        expanded = torch.from_numpy(np.repeat(batch, counts))
        offsets = torch.from_numpy(np.concatenate([np.arange(count) for count in counts])).int()
        at = self.states.prompt_len.gpu[expanded].long() - 1 + sampled + offsets
        limits = np.full(len(slots), 64)
        given_rows = (expanded, torch.from_numpy(batch), batch, at, torch.zeros(len(expanded)), offsets, limits)
        processed: Tensor = self.sampler.apply_sampling_params(logits, *given_rows)
        return processed


def twin(name: str, role: str, ratio: float = 0.5, **fields: Any) -> SamplingParams:
    return SamplingParams(extra_args=xargs(name, role, ratio), **({"temperature": 0.0} | fields))


def test_vllm_loads_it_and_refuses_through_it(config: VllmConfig) -> None:
    assert isinstance(Engine(config).processor, PairedDecodingV2)
    validate = build_custom_logits_processors_params_validator([NAME])
    validate(twin("a", "blind"))
    with pytest.raises(VLLMValidationError, match="logit_bias"):
        validate(twin("a", "blind", logit_bias={3: 1.0}))


def test_batch_sharded_sampling_is_refused(config: VllmConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config.parallel_config, "enable_batch_sharded_sampling", True)
    with pytest.raises(ValueError, match="batch-sharded sampling"):
        Engine(config)


@settings(max_examples=150)
@given(
    order=st.permutations(range(SLOTS)),
    present=st.lists(st.booleans(), min_size=SLOTS, max_size=SLOTS),
    ratios=st.lists(st.floats(-2, 2), min_size=4, max_size=4),
    numbers=st.integers(0, 2**31),
)
def test_whatever_the_order_of_rows_each_twin_with_both_members_there_gets_its_blend(
    config: VllmConfig, order: list[int], present: list[bool], ratios: list[float], numbers: int
) -> None:
    """Four pairs and four ordinary requests in random slots; a random part of them in the batch, in random order."""
    engine = Engine(config)
    seats = {(pair, role): order[2 * pair + n] for pair in range(4) for n, role in enumerate(("grounded", "blind"))}
    for (pair, role), slot in seats.items():
        engine.admit(slot, twin(f"pair {pair}", role, ratios[pair]))
    for slot in order[8:]:
        engine.admit(slot, SamplingParams(temperature=0.0))
    batch = [slot for slot, is_there in zip(reversed(order), present, strict=True) if is_there] or [order[0]]
    logits = torch.randn(len(batch), VOCAB, generator=torch.Generator().manual_seed(numbers))
    expected = logits.clone()
    for pair, h in enumerate(ratios):
        members = [seats[pair, role] for role in ("grounded", "blind")]
        if set(members) <= set(batch):
            grounded, blind = (batch.index(slot) for slot in members)
            expected[grounded] = expected[blind] = (1 - h) * logits[grounded] + h * logits[blind]
    torch.testing.assert_close(engine.step(logits, batch), expected)


@pytest.mark.parametrize(
    "fields", [{}, {"temperature": 1.0, "seed": 5, "top_p": 0.9}, {"temperature": 1.0, "top_k": 4}]
)
def test_both_runners_choose_the_same_tokens(config: VllmConfig, fields: dict[str, Any]) -> None:
    pairs = [(f"pair {n}", 0.25 * n) for n in range(3)]
    requests = [twin(name, role, h, **fields) for name, h in pairs for role in ("grounded", "blind")]
    engine, sampled = Engine(config), list[int]()
    first = PairedDecoding(_V1Config(), CPU, is_pin_memory=False)
    added: list[Any] = [(row, params, [], sampled) for row, params in enumerate(requests)]
    first.update_state(BatchUpdate(batch_size=6, removed=[], added=added, moved=[]))
    slots = [7, 1, 4, 9, 0, 3]
    for slot, params in zip(slots, requests, strict=True):
        engine.admit(slot, params, prompt=2 + slot)
    seen = set()
    for step in range(20):
        sampled[:] = range(step)
        logits = torch.randn(6, VOCAB)
        expected = first.apply(logits.clone()).argmax(dim=-1)
        assert engine.step(logits, slots, sampled=step).argmax(dim=-1).tolist() == expected.tolist()
        assert expected[0::2].tolist() == expected[1::2].tolist()
        seen |= set(expected.tolist())
    assert len(seen) > 3


def test_slots_are_followed_through_preemption_and_reuse(config: VllmConfig) -> None:
    engine = Engine(config)
    engine.admit(0, twin("a", "grounded"))
    engine.admit(1, twin("a", "blind"))
    engine.admit(5, twin("a", "grounded"))  # preempted, and back in another slot
    logits = torch.randn(2, VOCAB)
    assert torch.equal(*engine.step(logits, [5, 1]))
    assert torch.equal(engine.step(logits, [0, 1]), logits), "the slot that was given up is nobody's"
    engine.admit(1, SamplingParams(temperature=0.0))  # the blind member has finished, its slot is another's
    assert torch.equal(engine.step(logits, [5, 1]), logits)
    engine.admit(1, twin("b", "blind", 1.0))  # and then a twin's again
    engine.admit(5, twin("b", "grounded", 1.0))
    assert torch.equal(engine.step(logits, [1, 5]), logits[[0, 0]])


def test_the_same_slots_may_hold_other_twins_in_the_next_step(config: VllmConfig) -> None:
    engine = Engine(config)
    for name, h in (("a", 0.0), ("b", 1.0)):
        engine.admit(2, twin(name, "grounded", h))
        engine.admit(3, twin(name, "blind", h))
        logits = torch.randn(2, VOCAB)
        assert torch.equal(engine.step(logits, [2, 3]), logits[[int(h)] * 2])


def test_rows_of_drafts_are_blended_at_equal_offsets(config: VllmConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config, "speculative_config", _Drafts())
    engine = Engine(config, drafts=2)
    engine.admit(4, twin("a", "grounded", 0.5))
    engine.admit(6, SamplingParams(temperature=0.0))
    engine.admit(2, twin("a", "blind", 0.5))
    logits = torch.randn(3 + 2 + 2, VOCAB)
    got = engine.step(logits, [4, 6, 2], rows=[3, 2, 2])
    blended = (logits[0:2] + logits[5:7]) / 2
    torch.testing.assert_close(got, torch.cat([blended, logits[2:5], blended]))


def test_a_steady_batch_costs_no_copy_to_the_device(config: VllmConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Engine(config)
    engine.admit(0, twin("a", "grounded", temperature=1.0))
    engine.admit(1, twin("a", "blind", temperature=1.0))
    engine.step(torch.randn(2, VOCAB), [0, 1])
    monkeypatch.delattr("workers.mllm.v2.to_device")
    monkeypatch.delattr("workers.mllm.lottery.to_device")
    with Operations() as seen:
        assert engine.step(torch.randn(2, VOCAB), [1, 0], sampled=1).shape == (2, VOCAB)
    assert seen.waits == []


class _Drafts:
    num_speculative_tokens = 2


class _V1Config:
    lora_config = None

    class model_config:  # noqa: N801 - vLLM's name
        @staticmethod
        def get_vocab_size() -> int:
            return VOCAB
