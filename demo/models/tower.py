"""The vision tower: a small CLIP vision transformer that learns, patch by patch, which object stands there.

It is trained first and frozen from then on (trained on inside the language model, it is destroyed within 50 steps).
Its linear patch head stays behind as the measure of how much of a scene the tower sees at all.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import CLIPVisionConfig, CLIPVisionModel

from demo.models.training import Progress, Recipe, train, write_weights
from demo.scenes import CELL_SIDE, GRID_SIDE, IMAGE_SIDE, OBJECT_NAMES, Pixels, Scene, draw_scenes, pixels_of

PATCH_SIDE = 8
PATCHES = (IMAGE_SIDE // PATCH_SIDE) ** 2
PIXEL_MEAN = (0.5, 0.5, 0.5)
PIXEL_STD = (0.5, 0.5, 0.5)
NOTHING = len(OBJECT_NAMES)
_CLASS_OF = {name: number for number, name in enumerate(OBJECT_NAMES)}


def tower_config() -> CLIPVisionConfig:
    return CLIPVisionConfig(
        hidden_size=96,
        intermediate_size=384,
        num_hidden_layers=4,
        num_attention_heads=3,
        image_size=IMAGE_SIDE,
        patch_size=PATCH_SIDE,
        projection_dim=96,
    )


class PatchReader(nn.Module):
    """The tower and a linear head that names the object in every patch."""

    def __init__(self) -> None:
        super().__init__()
        self.tower = CLIPVisionModel(tower_config())
        self.head = nn.Linear(self.tower.config.hidden_size, NOTHING + 1)

    def forward(self, pixel_values: Tensor) -> Tensor:
        """[images, 3, 48, 48] normalised pixels -> [images, 36, 25] logits, the last class meaning "nothing"."""
        states = self.tower(pixel_values=pixel_values, output_hidden_states=True).hidden_states[-1]
        logits: Tensor = self.head(states[:, 1:])
        return logits


def pixel_values(pictures: list[Pixels]) -> Tensor:
    """Pictures [48, 48, 3] uint8 -> [images, 3, 48, 48] float32, as the shipped image processors normalise them."""
    stacked = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 255
    mean, std = torch.tensor(PIXEL_MEAN).view(3, 1, 1), torch.tensor(PIXEL_STD).view(3, 1, 1)
    return (stacked - mean) / std


def patch_classes(scenes: list[Scene]) -> Tensor:
    """[scenes, 36] int64: the object of the cell that a patch lies in (a cell is 2 x 2 patches)."""
    cells = torch.full((len(scenes), GRID_SIDE, GRID_SIDE), NOTHING)
    for number, scene in enumerate(scenes):
        for thing in scene.objects:
            cells[number, thing.cell // GRID_SIDE, thing.cell % GRID_SIDE] = _CLASS_OF[thing.name]
    per_cell = CELL_SIDE // PATCH_SIDE
    return cells.repeat_interleave(per_cell, 1).repeat_interleave(per_cell, 2).flatten(1)


@torch.inference_mode()
def seen_objects(reader: PatchReader, pictures: list[Pixels]) -> list[frozenset[str]]:
    """What the linear patch head finds in each picture: the class of each cell by the mean of its patches' logits."""
    per_cell = CELL_SIDE // PATCH_SIDE
    logits = reader(pixel_values(pictures)).view(len(pictures), GRID_SIDE, per_cell, GRID_SIDE, per_cell, -1)
    classes = logits.mean(dim=(2, 4)).argmax(-1).flatten(1)
    return [frozenset(OBJECT_NAMES[c] for c in row if c != NOTHING) for row in classes.tolist()]


def save_head(reader: PatchReader, file: Path) -> None:
    """Keep the linear patch head; the tower itself travels inside the language model's weights."""
    write_weights(reader.head.state_dict(), file)


def load_reader(tower: nn.Module, head_file: Path) -> PatchReader:
    """A reader from a trained tower (of a loaded LLaVA) and its kept head."""
    reader = PatchReader()
    reader.tower.load_state_dict(tower.state_dict())
    reader.head.load_state_dict(load_file(head_file))
    return reader.eval()


def recipe(seed: int, *, fast: bool) -> Recipe:
    if fast:
        return Recipe("tower", seed, steps=12, batch_size=8, peak_lr=1e-3, checkpoint_every=2)
    return Recipe("tower", seed, steps=1200, batch_size=64, peak_lr=1e-3)


def train_tower(plan: Recipe, checkpoint: Path, progress: Progress) -> PatchReader:
    """The trained tower with its head; goes on from the checkpoint where there is one."""
    torch.manual_seed(plan.seed)
    reader = PatchReader()

    def loss_of_step(step: int) -> Tensor:
        scenes = draw_scenes("perception", plan.seed, range(step * plan.batch_size, (step + 1) * plan.batch_size))
        logits = reader(pixel_values([pixels_of(scene) for scene in scenes]))
        return nn.functional.cross_entropy(logits.flatten(0, 1), patch_classes(scenes).flatten())

    train(reader, plan, loss_of_step, checkpoint, progress)
    return reader
