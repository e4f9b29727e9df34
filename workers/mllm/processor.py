"""vLLM's V1 logits processor around the blend: finds both rows of every twin and writes the same logits to both."""

# ruff: noqa: E402 - the version is checked before anything of vLLM is imported

from dataclasses import dataclass
from hashlib import blake2b

from workers.mllm.versions import end_unless_supported

end_unless_supported()

import torch
from torch import Tensor
from vllm import SamplingParams
from vllm.config import VllmConfig
from vllm.v1.sample.logits_processor import BatchUpdate, LogitsProcessor
from vllm.v1.sample.logits_processor.builtin import process_dict_updates
from vllm.v1.sample.ops.topk_topp_sampler import apply_top_k_top_p

from workers.mllm.blend import Draw, blend, draw_tokens, only, warm
from workers.mllm.twins import Role, Twin, check_admissible, seed_of, twin_of

_GREEDY_BELOW = 1e-5  # vLLM's own bound: a lower temperature is greedy


@dataclass(frozen=True, slots=True)
class _Row:
    twin: Twin
    params: SamplingParams
    sampled: list[int]  # vLLM's own list, which grows with every token

    @property
    def seed(self) -> int:
        """The request's seed, as signed 64 bits; the twin id takes the place of a missing one."""
        seed = seed_of(self.params)
        if seed is not None:
            return (seed + 2**63) % 2**64 - 2**63
        return int.from_bytes(blake2b(self.twin.id.encode(), digest_size=8).digest(), signed=True)


@dataclass(frozen=True, slots=True)
class _Blend:
    """Rows and ratios of a set of twins, as tensors: all [twins]."""

    grounded: Tensor
    blind: Tensor
    ratio: Tensor

    def of(self, logits: Tensor) -> Tensor:
        return blend(logits, self.grounded, self.blind, self.ratio)

    def write(self, logits: Tensor, values: Tensor) -> None:
        logits[self.grounded] = values
        logits[self.blind] = values


@dataclass(frozen=True, slots=True)
class _Lottery:
    """The twins with a temperature: how each samples, and where to read how many tokens it has."""

    rows: _Blend
    draw: Draw
    top_k: Tensor | None
    top_p: Tensor | None
    sampled: list[list[int]]

    def tokens(self, logits: Tensor) -> Tensor:
        warmed = warm(self.rows.of(logits), self.draw)
        cut = apply_top_k_top_p(warmed, self.top_k, self.top_p)
        steps = torch.tensor([len(tokens) for tokens in self.sampled], device=logits.device)
        return draw_tokens(cut, self.draw, steps)


class PairedDecoding(LogitsProcessor):  # type: ignore[misc]
    """Both members of a twin pair sample from `(1 - h) * grounded + h * blind`, and sample the same token.

    Greedy twins get the blended logits. Twins with a temperature are drawn here, from noise that is keyed by (seed,
    step), and get logits that leave that token alone; vLLM would draw each row by itself. A twin whose other half is
    not in the batch is left as it is: the scheduler sees to it that its sample is thrown away.
    """

    def __init__(self, vllm_config: VllmConfig, device: torch.device, is_pin_memory: bool) -> None:
        self._device = device
        self._vocab = vllm_config.model_config.get_vocab_size()
        self._rows: dict[int, _Row] = {}
        self._greedy: _Blend | None = None
        self._lottery: _Lottery | None = None

    @classmethod
    def validate_params(cls, sampling_params: SamplingParams) -> None:
        """Called by vLLM's API process. Raises TwinError, which the client sees as HTTP 400."""
        check_admissible(sampling_params)

    def is_argmax_invariant(self) -> bool:
        return False

    def update_state(self, batch_update: BatchUpdate | None) -> None:
        if process_dict_updates(self._rows, batch_update, _row):
            pairs = _pairs(self._rows)
            is_greedy = [self._rows[grounded].params.temperature < _GREEDY_BELOW for grounded, _ in pairs]
            self._greedy = self._blend_of([pair for pair, greedy in zip(pairs, is_greedy, strict=True) if greedy])
            self._lottery = self._lottery_of(
                [pair for pair, greedy in zip(pairs, is_greedy, strict=True) if not greedy]
            )

    def apply(self, logits: Tensor) -> Tensor:
        """Blend in place; logits: [rows, vocab] float32."""
        if self._greedy is not None:
            self._greedy.write(logits, self._greedy.of(logits))
        if self._lottery is not None:
            self._lottery.rows.write(logits, only(self._lottery.tokens(logits), logits.shape[1]))
        return logits

    def _blend_of(self, pairs: list[tuple[int, int]]) -> _Blend | None:
        if not pairs:
            return None
        rows = torch.tensor(pairs, device=self._device)
        ratios = [self._rows[grounded].twin.ratio for grounded, _ in pairs]
        return _Blend(rows[:, 0], rows[:, 1], torch.tensor(ratios, dtype=torch.float32, device=self._device))

    def _lottery_of(self, pairs: list[tuple[int, int]]) -> _Lottery | None:
        rows = self._blend_of(pairs)
        if rows is None:
            return None
        members = [self._rows[grounded] for grounded, _ in pairs]
        params = [member.params for member in members]

        def column(values: list[float], dtype: torch.dtype) -> Tensor:
            return torch.tensor(values, dtype=dtype, device=self._device)

        top_k = [p.top_k if p.top_k > 0 else self._vocab for p in params]
        return _Lottery(
            rows=rows,
            draw=Draw(
                temperature=column([p.temperature for p in params], torch.float32),
                min_p=column([p.min_p for p in params], torch.float32),
                seed=column([member.seed for member in members], torch.int64),
            ),
            top_k=column(top_k, torch.int32) if any(k < self._vocab for k in top_k) else None,
            top_p=column([p.top_p for p in params], torch.float32) if any(p.top_p < 1 for p in params) else None,
            sampled=[member.sampled for member in members],
        )


def _row(params: SamplingParams, prompt: list[int] | None, sampled: list[int]) -> _Row | None:
    twin = twin_of(params.extra_args)
    return None if twin is None else _Row(twin, params, sampled)


def _pairs(rows: dict[int, _Row]) -> list[tuple[int, int]]:
    """(grounded row, blind row) of every twin that has both in the batch."""
    found: dict[str, dict[Role, int]] = {}
    for index, row in rows.items():
        found.setdefault(row.twin.id, {})[row.twin.role] = index
    return [(pair[Role.GROUNDED], pair[Role.BLIND]) for pair in found.values() if len(pair) == len(Role)]
