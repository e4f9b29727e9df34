"""Paired decoding for vLLM's V2 model runner: the same blend and lottery behind the V2 logits-processor interface.

**Off by default**: `workers.mllm` pins the V1 runner. With plain vLLM, whose default on GPUs the V2 runner is, it is
taken by `--logits-processors workers.mllm.v2:PairedDecodingV2`. On one GPU it was exact, by hand, in vLLM 0.33
(benchmarks/results/exactness_gpu.json).

V2 keeps a request's state in a numbered slot and gives a step's batch as a mapping from rows to slots, in an order
that changes from step to step. What depends on who is in the batch is made anew when that changes; a step itself
finds the rows on the device, so that neither the host nor a Python loop waits for it.
"""

# ruff: noqa: E402 - the version is checked before anything of vLLM is imported

from dataclasses import dataclass

from workers.mllm.versions import end_unless_supported

end_unless_supported()

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from vllm import SamplingParams
from vllm.config import VllmConfig
from vllm.v1.worker.gpu.sample.logits_processor import LogitsContext, LogitsProcessor, LogitsProcRequestState

from workers.mllm.blend import Mixture, leave_only
from workers.mllm.lottery import Entrant, Lottery, to_device
from workers.mllm.twins import Role, check_admissible, twin_of

Slots = NDArray[np.int64]


class Seats:
    """Which slot each member of a twin sits in. Slots are reused, and vLLM does not say when one is given up."""

    def __init__(self, slots: int) -> None:
        self._entrants: list[Entrant | None] = [None] * slots
        self._slot_of: dict[tuple[str, Role], int] = {}
        self._blind_of: Slots = np.full(slots, -1, dtype=np.int64)

    def take(self, slot: int, entrant: Entrant | None) -> None:
        """A request (None: an ordinary one) sits down in `slot`; whoever sat there, or held its part, is gone."""
        self._leave(slot)
        if entrant is None:
            return
        twin = entrant.twin
        stale = self._slot_of.get((twin.id, twin.role))
        if stale is not None:
            self._leave(stale)
        self._entrants[slot] = entrant
        self._slot_of[twin.id, twin.role] = slot
        grounded, blind = (self._slot_of.get((twin.id, role)) for role in (Role.GROUNDED, Role.BLIND))
        if grounded is not None and blind is not None:
            self._blind_of[grounded] = blind

    def _leave(self, slot: int) -> None:
        entrant = self._entrants[slot]
        if entrant is None:
            return
        self._entrants[slot] = None
        del self._slot_of[entrant.twin.id, entrant.twin.role]
        grounded = self._slot_of.get((entrant.twin.id, Role.GROUNDED), slot)
        self._blind_of[grounded] = -1

    def pairs_in(self, batch: Slots) -> Slots:
        """[twins, 2]: grounded and blind slot of every twin that has both in `batch`, in the order of slots."""
        is_there = np.zeros(len(self._blind_of), dtype=bool)
        is_there[batch] = True
        blind = self._blind_of
        grounded = np.flatnonzero(is_there & (blind >= 0) & is_there[blind])
        return np.stack([grounded, blind[grounded]], axis=1)

    def entrants_in(self, grounded: Slots) -> list[Entrant]:
        found = [self._entrants[slot] for slot in grounded.tolist()]
        return [entrant for entrant in found if entrant is not None]


@dataclass(frozen=True, slots=True)
class _Group:
    """Twins that are sampled in one way, on the device: their slots and ratios, [twins]; no lottery when greedy."""

    grounded: Tensor
    blind: Tensor
    ratio: Tensor
    lottery: Lottery | None


class PairedDecodingV2(LogitsProcessor):  # type: ignore[misc]
    """Both members of a twin pair sample from `(1 - h) * grounded + h * blind`, and sample the same token.

    What is written and when is as in `workers.mllm.processor`. Under speculative decoding a request has a row for each
    drafted token; rows at the same offset are blended, which is right while both twins were drafted the same tokens,
    and a row without a counterpart is left alone. (The scheduler refuses speculative decoding.)

    Raises ValueError at construction under batch-sharded sampling, which may part twins.
    """

    def __init__(self, vllm_config: VllmConfig, req_states: LogitsProcRequestState) -> None:
        if vllm_config.parallel_config.enable_batch_sharded_sampling:
            raise ValueError("Paired decoding does not work with batch-sharded sampling; start vLLM without it.")
        self._states = req_states
        self._seats = Seats(req_states.max_num_reqs)
        self._pairs: Slots = np.empty((0, 2), dtype=np.int64)
        self._groups: list[_Group] = []
        drafts = vllm_config.speculative_config
        width = 1 + (drafts.num_speculative_tokens if drafts is not None else 0)
        self._row_of = torch.empty((req_states.max_num_reqs, width), dtype=torch.int64, device=req_states.device)

    @classmethod
    def validate_params(cls, sampling_params: SamplingParams) -> None:
        """Called by vLLM's API process. Raises TwinError, which the client sees as HTTP 400."""
        check_admissible(sampling_params)

    def add_request(self, req_idx: int, sampling_params: SamplingParams) -> bool:
        twin = twin_of(sampling_params.extra_args)
        self._seats.take(req_idx, None if twin is None else Entrant(twin, sampling_params))
        self._pairs = np.empty((0, 2), dtype=np.int64)  # the same slots may now hold other twins
        self._groups = []
        return twin is not None

    def apply(self, logits: Tensor, ctx: LogitsContext) -> Tensor:
        """Blend in place; logits: [rows, vocab] float32."""
        pairs = self._seats.pairs_in(ctx.idx_mapping_np)
        if not np.array_equal(pairs, self._pairs):
            self._pairs, self._groups = pairs, self._group(pairs)
        if self._groups:
            self._row_of.fill_(-1)
            rows = torch.arange(len(logits), device=logits.device)
            self._row_of[ctx.expanded_idx_mapping.long(), ctx.expanded_local_pos.long()] = rows
        for group in self._groups:
            self._write(group, logits, ctx.pos)
        return logits

    def _write(self, group: _Group, logits: Tensor, positions: Tensor) -> None:
        grounded, blind = self._row_of[group.grounded], self._row_of[group.blind]
        is_lone = (grounded < 0) | (blind < 0)  # such a row repeats the pair's first, and writes the same there
        grounded = torch.where(is_lone, grounded[:, :1], grounded).flatten()
        blind = torch.where(is_lone, blind[:, :1], blind).flatten()
        mixture = Mixture.of(grounded, blind, group.ratio)
        if group.lottery is not None:
            prompt = self._states.prompt_len.gpu[group.grounded].repeat_interleave(self._row_of.shape[1])
            tokens = group.lottery.tokens(mixture.of_logits(logits), positions[grounded] + 1 - prompt)
            leave_only(tokens, logits, (grounded, blind))
        elif self._row_of.shape[1] == 1:
            mixture.write(logits, (grounded, blind))
        else:  # a lone row's pair is written more than once
            blended = mixture.of_logits(logits)
            logits[grounded] = blended
            logits[blind] = blended

    def _group(self, pairs: Slots) -> list[_Group]:
        """The greedy twins and the others, with one entry for each row that a twin may have."""
        is_greedy = np.array([entrant.is_greedy for entrant in self._seats.entrants_in(pairs[:, 0])], dtype=bool)
        return [
            self._group_of(pairs[chosen], greedy)
            for chosen, greedy in ((is_greedy, True), (~is_greedy, False))
            if chosen.any()
        ]

    def _group_of(self, pairs: Slots, is_greedy: bool) -> _Group:
        device, width = self._states.device, self._row_of.shape[1]
        entrants = self._seats.entrants_in(pairs[:, 0])
        rows = [entrant for entrant in entrants for _ in range(width)]
        return _Group(
            to_device(pairs[:, 0].tolist(), device, torch.int64),
            to_device(pairs[:, 1].tolist(), device, torch.int64),
            to_device([entrant.twin.ratio for entrant in rows], device, torch.float32),
            None if is_greedy else Lottery.of(rows, self._states.vocab_size, device),
        )
