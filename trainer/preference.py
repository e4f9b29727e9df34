"""TRL's DPO for vision-language models, with the verifier's margin in the loss."""

from dataclasses import dataclass
from typing import Any

import torch
from peft import PeftModel
from torch import Tensor
from trl import DPOTrainer
from trl.trainer.dpo_trainer import DataCollatorForVisionPreference

MARGINS = "margins"


@dataclass
class MarginCollator(DataCollatorForVisionPreference):  # type: ignore[misc]
    """TRL's collator, and the pairs' margins: [pairs] float32, a missing one as 0."""

    def torch_call(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
        margins = torch.tensor([example["margin"] or 0.0 for example in examples], dtype=torch.float32)
        batch: dict[str, Any] = super().torch_call(examples)
        batch[MARGINS] = margins
        return batch


class MarginDPOTrainer(DPOTrainer):  # type: ignore[misc]
    """DPO whose loss is -log sigmoid(beta * (r_chosen - r_rejected) - gamma * m), r the log-ratio to the reference.

    m is max(0, margin) / `mean_margin`, so 1 on average: a pair that the verifier is sure of must be told apart by
    more (the idea of F-DPO, arXiv 2601.03027, with the verifier's margin in place of its labels). It is brought in as
    a handicap of gamma * m / beta on the reference's log-probability of the chosen answer, so it holds for every loss
    of TRL's that looks at the difference, and the logged rewards are those under the handicap. With gamma 0 this is
    TRL's trainer as it is.
    """

    def __init__(self, *arguments: Any, gamma: float = 0.0, mean_margin: float = 0.0, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._gamma = gamma
        self._mean_margin = mean_margin
        # The log-probabilities of the reference are then ours to bring, by TRL's own method.
        self.precompute_ref_logps = gamma > 0

    def compute_loss(self, model: Any, inputs: Any, return_outputs: bool = False, **named: Any) -> Any:
        given = {name: value for name, value in inputs.items() if name != MARGINS}
        if self._gamma > 0:
            chosen, rejected = self.compute_ref_log_probs(self.model, given)
            handicap = self._gamma / self.beta * normalised(inputs[MARGINS], self._mean_margin)
            given |= {"ref_chosen_logps": chosen + handicap, "ref_rejected_logps": rejected}
        return super().compute_loss(model, given, return_outputs, **named)


def normalised(margins: Tensor, mean_margin: float) -> Tensor:
    """max(0, margin) in units of `mean_margin`; all 0 where no pair has a margin."""
    return margins.clamp(min=0.0) / mean_margin if mean_margin > 0 else torch.zeros_like(margins)


def forget_parent(model: PeftModel) -> None:
    """Make the base model the reference: TRL keeps a copy of a loaded adapter as one, under the name `ref`."""
    if "ref" in model.peft_config:
        model.delete_adapter("ref")
