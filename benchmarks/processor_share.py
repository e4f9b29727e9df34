"""What the logits processor costs a step of vLLM: its share, its operations, and what grows with steps."""

import statistics
import time
import tracemalloc
from array import array
from functools import partial
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from vllm import SamplingParams
from vllm.v1.sample.logits_processor import BatchUpdate

from benchmarks.blend_kernel import DEVICE, device_name, finish, seconds_of
from workers.mllm.processor import PairedDecoding

HIDDEN = 2048
"""Width of the language-model head that a step is measured against: of a model of 1 to 2 billion parameters."""
WAYS: dict[str, dict[str, Any]] = {"greedy": {}, "drawn": {"temperature": 1.0}}


class _Config:
    """The part of vLLM's configuration that the processor reads."""

    def __init__(self, vocab: int) -> None:
        self.model_config = self
        self.lora_config = None
        self.get_vocab_size = lambda: vocab


class Operations(TorchDispatchMode):
    """Counts what is sent to the device; `waits` are those for whose result the host has to wait."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.names: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.append(func.overloadpacket.__name__)
        return func(*args, **(kwargs or {}))

    @property
    def waits(self) -> list[str]:
        return [name for name in self.names if name in {"_local_scalar_dense", "item", "nonzero", "masked_select"}]


def processor_with(twins: int, vocab: int, sampled: list[int] | None = None, **fields: Any) -> PairedDecoding:
    """A processor whose batch is `twins` pairs, grounded rows first, then the blind ones in another order.

    sampled: the tokens so far, of each.
    """
    processor = PairedDecoding(_Config(vocab), DEVICE, is_pin_memory=DEVICE.type == "cuda")
    added: list[Any] = []
    for role, order in (("grounded", range(twins)), ("blind", reversed(range(twins)))):
        for name in order:
            added.append((len(added), _params(str(name), role, fields), [], [] if sampled is None else sampled))
    processor.update_state(BatchUpdate(batch_size=2 * twins, removed=[], added=added, moved=[]))
    return processor


def _params(name: str, role: str, fields: dict[str, Any]) -> SamplingParams:
    xargs = {"judgefree_twin": name, "judgefree_role": role, "judgefree_ratio": 0.5}
    return SamplingParams(extra_args=xargs, **({"temperature": 0.0} | fields))


def share_of_a_step(twins: int = 64, vocab: int = 128_000) -> dict[str, Any]:
    """The processor's time beside two things that every step does: the language-model head, and choosing a token.

    The share is of these three alone, so an upper bound of the share of a whole step.
    """
    logits = torch.randn(2 * twins, vocab, device=DEVICE)
    hidden, head = torch.randn(2 * twins, HIDDEN, device=DEVICE), torch.randn(vocab, HIDDEN, device=DEVICE)
    rest = {
        "head_ms": seconds_of(lambda: torch.nn.functional.linear(hidden, head)) * 1e3,
        "argmax_ms": seconds_of(lambda: logits.argmax(dim=-1)) * 1e3,
    }
    found: dict[str, Any] = {"device": device_name(), "twins": twins, "vocabulary": vocab, "head_width": HIDDEN}
    for way, fields in WAYS.items():
        taken = seconds_of(partial(processor_with(twins, vocab, **fields).apply, logits)) * 1e3
        found |= {f"{way}_ms": round(taken, 3), f"{way}_share": round(taken / (taken + sum(rest.values())), 4)}
    found |= {name: round(value, 3) for name, value in rest.items()}
    return {**found, "change_of_batch_ms": round(change_of_batch_s(twins, vocab) * 1e3, 3), **operations(), **growth()}


def change_of_batch_s(twins: int, vocab: int) -> float:
    """Seconds that the processor takes on the host when a request of the batch goes and another comes."""
    processor = processor_with(twins, vocab)
    again: list[Any] = [(0, _params("0", "grounded", {}), [], [])]
    return seconds_of(lambda: processor.update_state(BatchUpdate(2 * twins, removed=[], added=again, moved=[])))


def operations() -> dict[str, Any]:
    """How many operations one step sends to the device, for few twins and for many, and which of them wait for it."""
    counts: dict[str, Any] = {}
    waits: set[str] = set()
    for way, fields in WAYS.items():
        counts[f"{way}_operations"] = {}
        for twins in (1, 64, 256):
            processor = processor_with(twins, 512, **fields)
            with Operations() as seen:
                processor.apply(torch.randn(2 * twins, 512, device=DEVICE))
            counts[f"{way}_operations"][str(twins)] = len(seen.names)
            waits |= set(seen.waits)
    return {**counts, "operations_that_wait": sorted(waits)}


def growth(steps: int = 4000, twins: int = 64, vocab: int = 512) -> dict[str, Any]:
    """What thousands of steps change, while answers grow: milliseconds of a step, and bytes of Python objects.

    (8 bytes a step are the list of tokens itself, which is vLLM's.)
    """
    sampled: list[int] = []
    processor = processor_with(twins, vocab, sampled, temperature=1.0)
    logits, taken, held = torch.randn(2 * twins, vocab, device=DEVICE), array("d", bytes(8 * steps)), [0, 0]
    tracemalloc.start()
    for step in range(steps):
        sampled.append(0)
        began = time.perf_counter()
        finish(lambda: processor.apply(logits))
        taken[step] = time.perf_counter() - began
        if step in (steps // 10, steps - 1):
            held[step == steps - 1] = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    tenth = steps // 10
    return {
        "steps": steps,
        "first_tenth_ms": round(statistics.median(taken[:tenth]) * 1e3, 4),
        "last_tenth_ms": round(statistics.median(taken[-tenth:]) * 1e3, 4),
        "python_bytes_per_step": round((held[1] - held[0]) / (0.9 * steps), 1),
    }
