"""The arithmetic of paired decoding on plain tensors: blend the rows of twins, and draw one token for both. Pure."""

from dataclasses import dataclass

import torch
from torch import Tensor

_GOLDEN = -0x61C8864680B583EB  # 2**64 divided by the golden ratio, as a signed 64-bit number
_MIX_1 = -0x40A7B892E31B1A47  # the two multipliers of splitmix64 (Steele, Lea and Flood, OOPSLA 2014)
_MIX_2 = -0x6B2FB644ECCEEE15


def blend(logits: Tensor, grounded_rows: Tensor, blind_rows: Tensor, ratios: Tensor) -> Tensor:
    """`(1 - h) * g + h * b` for every twin at once.

    logits: [rows, vocab] float; grounded_rows, blind_rows: [twins] int64; ratios: [twins] float. Returns
    [twins, vocab]. h = 0 gives g and h = 1 gives b to the last bit.
    """
    h = ratios.unsqueeze(1)
    return (1 - h) * logits[grounded_rows] + h * logits[blind_rows]


def _mix(x: Tensor) -> Tensor:
    x = (x ^ ((x >> 30) & 0x3_FFFF_FFFF)) * _MIX_1
    x = (x ^ ((x >> 27) & 0x1F_FFFF_FFFF)) * _MIX_2
    return x ^ ((x >> 31) & 0x1_FFFF_FFFF)


def gumbel_noise(seeds: Tensor, steps: Tensor, vocab: int) -> Tensor:
    """Standard Gumbel noise that depends on (seed, step, token) alone: [twins, vocab] float64.

    seeds, steps: [twins] int64. Counter-based (splitmix64), so that it needs no generator's state: a step that is
    repeated after a preemption, or thrown away, draws the same noise, on every device and in every batch.
    """
    stream = _mix(_mix(seeds + _GOLDEN) + steps * _GOLDEN).unsqueeze(1)
    tokens = torch.arange(1, vocab + 1, dtype=torch.int64, device=seeds.device)
    bits = _mix(stream + tokens * _GOLDEN) >> 11 & 0x1F_FFFF_FFFF_FFFF
    uniform = (bits.double() + 0.5) * 2.0**-53
    return -torch.log(-torch.log(uniform))


@dataclass(frozen=True, slots=True)
class Draw:
    """How twins with a temperature sample: one entry a twin, all [twins].

    temperature float32 > 0; min_p float32; seed int64.
    """

    temperature: Tensor
    min_p: Tensor
    seed: Tensor


def warm(blended: Tensor, draw: Draw) -> Tensor:
    """Temperature, then min-p, in the order of vLLM's sampler: [twins, vocab]."""
    logits = blended / draw.temperature.unsqueeze(1)
    floor = logits.amax(dim=-1, keepdim=True) + draw.min_p.log().unsqueeze(1)  # log p_max + log min_p
    return logits.masked_fill(logits < floor, -torch.inf)


def draw_tokens(logits: Tensor, draw: Draw, steps: Tensor) -> Tensor:
    """One token a twin from softmax(logits), by the Gumbel-max rule: [twins] int64.

    logits: [twins, vocab], already warmed and cut by top-k and top-p; steps: [twins] int64, tokens sampled before.
    """
    return (logits.double() + gumbel_noise(draw.seed, steps, logits.shape[1])).argmax(dim=-1)


def only(tokens: Tensor, vocab: int) -> Tensor:
    """Logits that leave one choice: 0 for the token, minus infinity for the rest: [twins, vocab] float32."""
    forced = torch.full((len(tokens), vocab), -torch.inf, device=tokens.device)
    return forced.scatter_(1, tokens.unsqueeze(1), 0.0)
