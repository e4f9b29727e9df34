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
from demo.scenes import Pixels, Scene, draw_scenes, pixels_of
from demo.worlds import CELL_SIDE, GRID_SIDE, IMAGE_SIDE, WORLDS, World

PATCH_SIDE = 8
PATCHES = (IMAGE_SIDE // PATCH_SIDE) ** 2
PIXEL_MEAN = (0.5, 0.5, 0.5)
PIXEL_STD = (0.5, 0.5, 0.5)


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
    """The tower and a linear head that names the object of its world in every patch."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self.world = world
        self.tower = CLIPVisionModel(tower_config())
        self.head = nn.Linear(self.tower.config.hidden_size, classes_in(world))

    def forward(self, pixel_values: Tensor) -> Tensor:
        """[images, 3, 48, 48] normalised pixels -> [images, 36, classes] logits, the last class meaning "nothing"."""
        states = self.tower(pixel_values=pixel_values, output_hidden_states=True).hidden_states[-1]
        logits: Tensor = self.head(states[:, 1:])
        return logits


def classes_in(world: World) -> int:
    """How many classes a patch may be of: the world's objects and, last, "nothing"."""
    return len(world.object_names) + 1


def pixel_values(pictures: list[Pixels]) -> Tensor:
    """Pictures [48, 48, 3] uint8 -> [images, 3, 48, 48] float32, as the shipped image processors normalise them."""
    stacked = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 255
    mean, std = torch.tensor(PIXEL_MEAN).view(3, 1, 1), torch.tensor(PIXEL_STD).view(3, 1, 1)
    return (stacked - mean) / std


def patch_classes(scenes: list[Scene], world: World) -> Tensor:
    """[scenes, 36] int64: the object of the cell that a patch lies in (a cell is 2 x 2 patches)."""
    class_of = {name: number for number, name in enumerate(world.object_names)}
    cells = torch.full((len(scenes), GRID_SIDE, GRID_SIDE), len(class_of))
    for number, scene in enumerate(scenes):
        for thing in scene.objects:
            cells[number, thing.cell // GRID_SIDE, thing.cell % GRID_SIDE] = class_of[thing.name]
    per_cell = CELL_SIDE // PATCH_SIDE
    return cells.repeat_interleave(per_cell, 1).repeat_interleave(per_cell, 2).flatten(1)


@torch.inference_mode()
def seen_objects(reader: PatchReader, pictures: list[Pixels]) -> list[frozenset[str]]:
    """What the linear patch head finds in each picture: the class of each cell by the mean of its patches' logits."""
    per_cell = CELL_SIDE // PATCH_SIDE
    logits = reader(pixel_values(pictures)).view(len(pictures), GRID_SIDE, per_cell, GRID_SIDE, per_cell, -1)
    classes = logits.mean(dim=(2, 4)).argmax(-1).flatten(1)
    names = reader.world.object_names
    return [frozenset(names[c] for c in row if c < len(names)) for row in classes.tolist()]


def save_head(reader: PatchReader, file: Path) -> None:
    """Keep the linear patch head; the tower itself travels inside the language model's weights."""
    write_weights(reader.head.state_dict(), file)


def load_reader(tower: nn.Module, head_file: Path, world: World) -> PatchReader:
    """A reader from a trained tower (of a loaded LLaVA) and its kept head."""
    reader = PatchReader(world)
    reader.tower.load_state_dict(tower.state_dict())
    reader.head.load_state_dict(load_file(head_file))
    return reader.eval()


def recipe(world: World, seed: int, *, fast: bool) -> Recipe:
    if fast:
        return Recipe("tower", world.name, seed, steps=12, batch_size=8, peak_lr=1e-3, checkpoint_every=2)
    return Recipe("tower", world.name, seed, steps=world.steps["tower"], batch_size=64, peak_lr=1e-3)


def train_tower(plan: Recipe, checkpoint: Path, progress: Progress) -> PatchReader:
    """The trained tower with its head; goes on from the checkpoint where there is one."""
    torch.manual_seed(plan.seed)
    world = WORLDS[plan.world]
    reader = PatchReader(world)

    def loss_of_step(step: int) -> Tensor:
        scenes = draw_scenes("perception", plan.seed, plan.indices(step), world)
        logits = reader(pixel_values([pixels_of(scene) for scene in scenes]))
        return nn.functional.cross_entropy(logits.flatten(0, 1), patch_classes(scenes, world).flatten())

    train(reader, plan, loss_of_step, checkpoint, progress)
    return reader
