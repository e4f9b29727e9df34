"""The one training loop: AdamW, warm-up then cosine, clipped gradients, and checkpoints that survive kill -9.

A batch is a pure function of (seed, step) and the learning rate one of the step, so weights, optimiser and step number
are all that a run has to remember: an interrupted run goes on to the very same weights.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn


@dataclass(frozen=True)
class Recipe:
    """What a stage is trained with. Two runs with equal recipes on one machine end in equal weights."""

    stage: str
    world: str
    seed: int
    steps: int
    batch_size: int
    peak_lr: float
    warm_up: float = 0.1
    weight_decay: float = 0.01
    clip_norm: float = 1.0
    checkpoint_every: int = 50

    def indices(self, step: int) -> range:
        """The scenes of a step's batch: every step has its own."""
        return range(step * self.batch_size, (step + 1) * self.batch_size)


Progress = Callable[[str, int, int, float], None]
"""Told (stage, steps done, steps in all, loss) as a stage goes on."""


class ForeignCheckpointError(RuntimeError):
    """A checkpoint that another recipe left in this folder: going on from it would mix two trainings."""


def learning_rate(recipe: Recipe, step: int) -> float:
    """Linear warm-up to the peak, then a cosine down to zero at the last step."""
    warm_up_steps = max(1, round(recipe.warm_up * recipe.steps))
    if step < warm_up_steps:
        return recipe.peak_lr * (step + 1) / warm_up_steps
    share = (step - warm_up_steps) / max(1, recipe.steps - warm_up_steps)
    return recipe.peak_lr * 0.5 * (1 + math.cos(math.pi * share))


def train(
    model: nn.Module, recipe: Recipe, loss_of_step: Callable[[int], Tensor], checkpoint: Path, progress: Progress
) -> None:
    """Train the model's trainable parameters in place, going on from `checkpoint` where there is one.

    Raises ForeignCheckpointError when the checkpoint comes from another recipe.
    """
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    optimiser = torch.optim.AdamW(weights, lr=recipe.peak_lr, weight_decay=recipe.weight_decay)
    done = _resume(model, optimiser, recipe, checkpoint)
    model.train()
    for step in range(done, recipe.steps):
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(recipe, step)
        loss = loss_of_step(step)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(weights, recipe.clip_norm)
        optimiser.step()
        if (step + 1) % recipe.checkpoint_every == 0 or step + 1 == recipe.steps:
            _save(model, optimiser, recipe, step + 1, checkpoint)
            progress(recipe.stage, step + 1, recipe.steps, float(loss.detach()))
    model.eval()


def _resume(model: nn.Module, optimiser: torch.optim.Optimizer, recipe: Recipe, checkpoint: Path) -> int:
    if not checkpoint.exists():
        return 0
    kept: dict[str, Any] = torch.load(checkpoint, weights_only=True)
    if kept["recipe"] != asdict(recipe):
        raise ForeignCheckpointError(
            f"{checkpoint} was left by another training recipe; remove it or train into another folder"
        )
    model.load_state_dict(kept["model"])
    optimiser.load_state_dict(kept["optimiser"])
    return int(kept["step"])


def write_weights(weights: Mapping[str, Tensor], file: Path) -> None:
    """Write tensors as safetensors that everybody may read (the library itself makes files for their owner only)."""
    file.parent.mkdir(parents=True, exist_ok=True)
    save_file({key: value.contiguous() for key, value in weights.items()}, file, {"format": "pt"})
    file.chmod(0o644)


def _save(model: nn.Module, optimiser: torch.optim.Optimizer, recipe: Recipe, step: int, checkpoint: Path) -> None:
    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    partial = checkpoint.with_suffix(".partial")
    state = {
        "recipe": asdict(recipe),
        "step": step,
        "model": model.state_dict(),
        "optimiser": optimiser.state_dict(),
    }
    with partial.open("wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(checkpoint)
