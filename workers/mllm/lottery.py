"""How twins with a temperature come by one token for both: their sampling parameters as tensors, drawn at once.

What vLLM's two model runners share: they differ in where a twin's rows are, not in how it samples.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b

import torch
from torch import Tensor
from vllm import SamplingParams
from vllm.utils.torch_utils import async_tensor_h2d
from vllm.v1.sample.ops.topk_topp_sampler import apply_top_k_top_p

from workers.mllm.blend import Draw, draw_tokens, warm
from workers.mllm.twins import Twin, seed_of

_GREEDY_BELOW = 1e-5  # vLLM's own bound: a lower temperature is greedy


@dataclass(frozen=True, slots=True)
class Entrant:
    """A twin, and the sampling parameters that its members share."""

    twin: Twin
    params: SamplingParams

    @property
    def is_greedy(self) -> bool:
        temperature: float = self.params.temperature
        return temperature < _GREEDY_BELOW

    @property
    def seed(self) -> int:
        """The request's seed, as signed 64 bits; the twin id takes the place of a missing one."""
        seed = seed_of(self.params)
        if seed is not None:
            return (seed + 2**63) % 2**64 - 2**63
        return int.from_bytes(blake2b(self.twin.id.encode(), digest_size=8).digest(), signed=True)


@dataclass(frozen=True, slots=True)
class Lottery:
    """How each of some twins samples: one entry a twin, all [twins]; None where no twin asks for it."""

    draw: Draw
    top_k: Tensor | None
    top_p: Tensor | None

    @classmethod
    def of(cls, entrants: Sequence[Entrant], vocab: int, device: torch.device) -> "Lottery":
        params = [entrant.params for entrant in entrants]

        def column(values: list[float], dtype: torch.dtype) -> Tensor:
            return to_device(values, device, dtype)

        top_k = [p.top_k if p.top_k > 0 else vocab for p in params]
        return cls(
            draw=Draw(
                temperature=column([p.temperature for p in params], torch.float32),
                min_p=column([p.min_p for p in params], torch.float32),
                seed=column([entrant.seed for entrant in entrants], torch.int64),
            ),
            top_k=column(top_k, torch.int32) if any(k < vocab for k in top_k) else None,
            top_p=column([p.top_p for p in params], torch.float32) if any(p.top_p < 1 for p in params) else None,
        )

    def tokens(self, blended: Tensor, steps: Tensor) -> Tensor:
        """One token a twin: [twins] int64. blended: [twins, vocab] float32; steps: [twins], tokens sampled before."""
        return draw_tokens(apply_top_k_top_p(warm(blended, self.draw), self.top_k, self.top_p), self.draw, steps)


def to_device(values: Sequence[object], device: torch.device, dtype: torch.dtype) -> Tensor:
    """`values` as a tensor on `device`, copied through pinned memory so that the device is not waited for."""
    tensor: Tensor = async_tensor_h2d(list(values), device=device, dtype=dtype)
    return tensor
