"""The arithmetic of paired decoding on plain tensors: blend the rows of twins, and draw one token for both. Pure."""

from dataclasses import dataclass
from importlib.util import find_spec

import torch
from torch import Tensor

_GOLDEN = -0x61C8864680B583EB  # 2**64 divided by the golden ratio, as a signed 64-bit number
_MIX_1 = -0x40A7B892E31B1A47  # the two multipliers of splitmix64 (Steele, Lea and Flood, OOPSLA 2014)
_MIX_2 = -0x6B2FB644ECCEEE15
_HAS_TRITON = find_spec("triton") is not None


@dataclass(frozen=True, slots=True)
class Mixture:
    """The rows of some twins and what each weighs, ready for step after step: nothing here depends on logits.

    read, [twins] int64 each: the row that stands for each context. weight, [twins, 1] float32 each: of g and of b.
    is_convex: no weight is negative.
    """

    read: tuple[Tensor, Tensor]
    weight: tuple[Tensor, Tensor]
    is_convex: bool

    @classmethod
    def of(cls, grounded_rows: Tensor, blind_rows: Tensor, ratios: Tensor, is_convex: bool = False) -> "Mixture":
        """grounded_rows, blind_rows: [twins] int64; ratios: [twins] float; is_convex: all of them are known to be in
        [0, 1], which is cheaper."""
        # A context without weight is not read, and the other one is twice, by halves: nought times minus infinity is
        # no number.
        read = torch.where(ratios == 1, blind_rows, grounded_rows), torch.where(ratios == 0, grounded_rows, blind_rows)
        h = torch.where((ratios == 0) | (ratios == 1), 0.5, ratios).unsqueeze(1)
        return cls(read, (1 - h, h), is_convex)

    def of_logits(self, logits: Tensor) -> Tensor:
        """`(1 - h) * g + h * b` for every twin at once: [twins, vocab]. logits: [rows, vocab] float.

        h = 0 gives g and h = 1 gives b to the last bit. A token that one of them rules out by minus infinity is ruled
        out in the blend, whatever the sign of its weight.
        """
        if _is_fusible(logits):
            from workers.mllm import fused

            blended = logits.new_empty(len(self.read[0]), logits.shape[1])
            fused.blend(logits, self.read, self.weight, blended, torch.arange(len(blended), device=logits.device))
            return blended
        g, b = (logits.index_select(0, rows) for rows in self.read)
        is_ruled_out = None if self.is_convex else torch.minimum(g, b).isneginf()
        blended = g.mul_(self.weight[0]).addcmul_(b, self.weight[1])
        return blended if is_ruled_out is None else blended.masked_fill_(is_ruled_out, -torch.inf)

    def write(self, logits: Tensor, rows: tuple[Tensor, Tensor]) -> None:
        """Give both rows of every twin its blend. logits: [rows, vocab] float32; rows, [twins] int64 each.

        No twin may read a row that another writes.
        """
        if _is_fusible(logits):
            from workers.mllm import fused

            fused.blend(logits, self.read, self.weight, logits, *rows)
            return
        blended = self.of_logits(logits)
        for written in rows:
            logits.index_copy_(0, written, blended)


def _is_fusible(logits: Tensor) -> bool:
    """Whether one kernel can do it: Triton comes with torch's CUDA build, and takes seconds to import."""
    return logits.is_cuda and _HAS_TRITON and logits.dtype == torch.float32 and logits.stride(1) == 1


def _mix(x: Tensor) -> Tensor:
    x = (x ^ ((x >> 30) & 0x3_FFFF_FFFF)) * _MIX_1
    x = (x ^ ((x >> 27) & 0x1F_FFFF_FFFF)) * _MIX_2
    return x ^ ((x >> 31) & 0x1_FFFF_FFFF)


def uniform(seeds: Tensor, steps: Tensor) -> Tensor:
    """A number in (0, 1] that depends on (seed, step) alone: [twins] float64.

    seeds, steps: [twins] int64. Counter-based (splitmix64), so that it needs no generator's state: a step that is
    repeated after a preemption, or thrown away, draws the same number, on every device and in every batch.
    """
    bits = _mix(_mix(seeds + _GOLDEN) + (steps + 1) * _GOLDEN) >> 11 & 0x1F_FFFF_FFFF_FFFF
    return (bits.double() + 0.5) * 2.0**-53


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
    """One token a twin from softmax(logits), where the sum of probabilities passes the twin's number: [twins] int64.

    logits: [twins, vocab], already warmed and cut by top-k and top-p; steps: [twins] int64, tokens sampled before.
    One number a twin, not one a token as in the Gumbel-max rule, which at a vocabulary of 128,000 costs 30 times more.
    """
    mass = logits.softmax(dim=-1).cumsum(dim=-1, dtype=torch.float64)
    wanted = uniform(draw.seed, steps) * mass[:, -1]
    tokens = torch.searchsorted(mass, wanted.unsqueeze(1)).squeeze(1)
    return tokens.clamp(max=logits.shape[1] - 1)  # past the end when a model's logits are no numbers


def leave_only(tokens: Tensor, logits: Tensor, rows: tuple[Tensor, Tensor]) -> None:
    """Leave both rows of every twin one choice: 0 for its token, minus infinity for the rest.

    tokens, [twins] int64; logits: [rows, vocab] float32; rows, [twins] int64 each.
    """
    both = torch.cat(rows)
    logits.index_fill_(0, both, -torch.inf)
    logits[both, tokens.repeat(2)] = 0.0
