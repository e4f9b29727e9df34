"""vLLM's V1 logits processor around the blend: finds both rows of every twin and writes the same logits to both."""

# ruff: noqa: E402 - the version is checked before anything of vLLM is imported

from collections.abc import Sequence
from dataclasses import dataclass

from workers.mllm.versions import end_unless_supported

end_unless_supported()

import torch
from torch import Tensor
from vllm import SamplingParams
from vllm.config import VllmConfig
from vllm.v1.sample.logits_processor import BatchUpdate, LogitsProcessor
from vllm.v1.sample.logits_processor.builtin import process_dict_updates

from workers.mllm.blend import Mixture, leave_only
from workers.mllm.lottery import Entrant, Lottery, to_device
from workers.mllm.spare_slot import add_spare_slot
from workers.mllm.twins import Role, check_admissible, twin_of


@dataclass(frozen=True, slots=True)
class _Row:
    entrant: Entrant
    sampled: list[int]  # vLLM's own list, which grows with every token


@dataclass(frozen=True, slots=True)
class _Group:
    """Twins that are sampled in one way: on the device, the rows of each member, [twins], and how they are blended; no
    lottery when greedy.

    sampled: of each twin, the list whose length says how many tokens it has.
    """

    rows: tuple[Tensor, Tensor]
    mixture: Mixture
    lottery: Lottery | None
    sampled: list[list[int]]

    def write(self, logits: Tensor) -> None:
        """Give both rows of every twin the same logits; logits: [rows, vocab] float32."""
        if self.lottery is None:
            self.mixture.write(logits, self.rows)
        else:
            steps = to_device(list(map(len, self.sampled)), logits.device, torch.int64)
            leave_only(self.lottery.tokens(self.mixture.of_logits(logits), steps), logits, self.rows)


class PairedDecoding(LogitsProcessor):  # type: ignore[misc]
    """Both members of a twin pair sample from `(1 - h) * grounded + h * blind`, and sample the same token.

    Greedy twins get the blended logits. Twins with a temperature are drawn here, from a number that is keyed by (seed,
    step), and get logits that leave that token alone; vLLM would draw each row by itself. A twin whose other half is
    not in the batch is left as it is: the scheduler sees to it that its sample is thrown away.
    """

    def __init__(self, vllm_config: VllmConfig, device: torch.device, is_pin_memory: bool) -> None:
        self._device = device
        self._vocab = vllm_config.model_config.get_vocab_size()
        self._rows: dict[int, _Row] = {}
        self._groups: list[_Group] = []
        if vllm_config.lora_config is not None and device.type == "cpu":  # vLLM makes its processors before it loads
            add_spare_slot()

    @classmethod
    def validate_params(cls, sampling_params: SamplingParams) -> None:
        """Called by vLLM's API process. Raises TwinError, which the client sees as HTTP 400."""
        check_admissible(sampling_params)

    def is_argmax_invariant(self) -> bool:
        return False

    def update_state(self, batch_update: BatchUpdate | None) -> None:
        """Follow who is in which row; the groups are made anew only when a twin came, went or moved."""
        if process_dict_updates(self._rows, batch_update, _row):
            pairs = _pairs(self._rows)
            greedy = [pair for pair in pairs if self._rows[pair[0]].entrant.is_greedy]
            drawn = [pair for pair in pairs if not self._rows[pair[0]].entrant.is_greedy]
            self._groups = [self._group(chosen) for chosen in (greedy, drawn) if chosen]

    def apply(self, logits: Tensor) -> Tensor:
        """Blend in place; logits: [rows, vocab] float32."""
        for group in self._groups:
            group.write(logits)
        return logits

    def _group(self, pairs: Sequence[tuple[int, int]]) -> _Group:
        members = [self._rows[grounded] for grounded, _ in pairs]
        entrants = [member.entrant for member in members]
        grounded, blind = (to_device(rows, self._device, torch.int64) for rows in zip(*pairs, strict=True))
        ratios = [entrant.twin.ratio for entrant in entrants]
        on_device = to_device(ratios, self._device, torch.float32)
        is_greedy = entrants[0].is_greedy
        return _Group(
            rows=(grounded, blind),
            mixture=Mixture.of(grounded, blind, on_device, is_convex=all(0 <= h <= 1 for h in ratios)),
            lottery=None if is_greedy else Lottery.of(entrants, self._vocab, self._device),
            sampled=[member.sampled for member in members],
        )


def _row(params: SamplingParams, prompt: list[int] | None, sampled: list[int]) -> _Row | None:
    twin = twin_of(params.extra_args)
    return None if twin is None else _Row(Entrant(twin, params), sampled)


def _pairs(rows: dict[int, _Row]) -> list[tuple[int, int]]:
    """(grounded row, blind row) of every twin that has both in the batch."""
    found: dict[str, dict[Role, int]] = {}
    for index, row in rows.items():
        twin = row.entrant.twin
        found.setdefault(twin.id, {})[twin.role] = index
    return [(pair[Role.GROUNDED], pair[Role.BLIND]) for pair in found.values() if len(pair) == len(Role)]
