"""The tiny CLIP: open_clip's own model class, taught which single sentences are true of a scene.

One true sentence an image, of one object or two, worded as captions word them. A sentence is a target of every image
of the batch that it is true of, in both directions; an object that is there but elsewhere counts for a little.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from torch import Tensor, nn

from demo.captions import sentence
from demo.models.tokenizer import CLIP_CONTEXT, clip_tokenizer
from demo.models.tower import PATCH_SIDE, PIXEL_MEAN, PIXEL_STD, classes_in, patch_classes, pixel_values
from demo.models.training import Progress, Recipe, train, write_weights
from demo.scenes import Scene, draw_scenes, pixels_of
from demo.worlds import GRID_SIDE, IMAGE_SIDE, WORLDS, SceneObject, World

TWO_OBJECTS = 0.4
"""Share of training sentences that join an object with its neighbour in the row, where there is one."""
ELSEWHERE = 0.3
"""What a mention counts as a target when its object stands in another place of the image."""


def clip_config(world: World) -> dict[str, Any]:
    """What `open_clip_config.json` says of the model: its two towers and how pictures are prepared."""
    return {
        "model_cfg": {
            "embed_dim": 96,
            "vision_cfg": {
                "image_size": IMAGE_SIDE,
                "layers": 4,
                "width": 96,
                "head_width": 32,
                "patch_size": PATCH_SIDE,
            },
            "text_cfg": {
                "context_length": CLIP_CONTEXT,
                "vocab_size": len(clip_tokenizer(world)),
                "width": 96,
                "heads": 3,
                "layers": 3,
                # Any name makes open_clip look for Hugging Face tokenizer files in the model's own folder.
                "hf_tokenizer_name": "demo-world",
            },
        },
        "preprocess_cfg": {
            "mean": list(PIXEL_MEAN),
            "std": list(PIXEL_STD),
            "interpolation": "bicubic",
            "resize_mode": "shortest",
        },
    }


class Learner(nn.Module):
    """CLIP and a patch head: naming what stands in each patch teaches the image tower far faster than matching does."""

    def __init__(self, world: World) -> None:
        super().__init__()
        config = clip_config(world)["model_cfg"]
        self.clip = open_clip.CLIP(**config)
        self.head = nn.Linear(config["vision_cfg"]["width"], classes_in(world))

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """[images, 3, 48, 48] -> unit embeddings [images, 96] and patch logits [images, 36, classes]."""
        self.clip.visual.output_tokens = True
        embeddings, patches = self.clip.visual(pixels)
        self.clip.visual.output_tokens = False
        return nn.functional.normalize(embeddings, dim=-1), self.head(patches)


def token_ids(sentences: list[str], world: World) -> Tensor:
    """[sentences, 32] int64, as open_clip's own tokenizer wrapper makes them."""
    ids: Tensor = clip_tokenizer(world)(
        sentences, return_tensors="pt", max_length=CLIP_CONTEXT, padding="max_length", truncation=True
    ).input_ids
    return ids


def draw_mentioned(scene: Scene, rng: np.random.Generator) -> list[SceneObject]:
    """One object of the scene, or one and its neighbour in the row of the grid, to make a sentence about."""
    first = int(rng.integers(len(scene.objects)))
    chosen = list(scene.objects[first : first + 1])
    following = scene.objects[first + 1 : first + 2]
    if following and following[0].cell // GRID_SIDE == chosen[0].cell // GRID_SIDE and rng.random() < TWO_OBJECTS:
        chosen.extend(following)
    return chosen


def truth(scenes: list[Scene], mentioned: list[list[SceneObject]]) -> Tensor:
    """[images, sentences] float32: 1 where a sentence is true of an image, less where a place is wrong, else 0."""
    targets = torch.zeros(len(scenes), len(mentioned))
    for row, scene in enumerate(scenes):
        cells = {thing.name: thing.cell for thing in scene.objects}
        for column, things in enumerate(mentioned):
            if all(thing.name in cells for thing in things):
                right = sum(cells[thing.name] == thing.cell for thing in things)
                targets[row, column] = ELSEWHERE ** (len(things) - right)
    return targets


def recipe(world: World, seed: int, *, fast: bool) -> Recipe:
    if fast:
        return Recipe("clip", world.name, seed, steps=12, batch_size=8, peak_lr=1e-3, checkpoint_every=2)
    return Recipe("clip", world.name, seed, steps=world.steps["clip"], batch_size=96, peak_lr=1e-3)


def train_clip(plan: Recipe, checkpoint: Path, progress: Progress) -> open_clip.CLIP:
    """The trained CLIP; goes on from the checkpoint where there is one."""
    torch.manual_seed(plan.seed)
    world = WORLDS[plan.world]
    learner = Learner(world)
    model = learner.clip

    def loss_of_step(step: int) -> Tensor:
        rng = np.random.default_rng([plan.seed, 200, step])
        scenes = draw_scenes("matching", plan.seed, plan.indices(step), world)
        mentioned = [draw_mentioned(scene, rng) for scene in scenes]
        images, patches = learner(pixel_values([pixels_of(scene) for scene in scenes]))
        sentences = [sentence(things, rng) for things in mentioned]
        texts = model.encode_text(token_ids(sentences, world), normalize=True)
        logits = model.logit_scale.exp().clamp(max=100) * images @ texts.T
        targets = truth(scenes, mentioned)
        to_text = nn.functional.cross_entropy(logits, targets / targets.sum(1, keepdim=True))
        to_image = nn.functional.cross_entropy(logits.T, (targets / targets.sum(0)).T)
        naming = nn.functional.cross_entropy(patches.flatten(0, 1), patch_classes(scenes, world).flatten())
        return (to_text + to_image) / 2 + naming

    train(learner, plan, loss_of_step, checkpoint, progress)
    return model


def save_clip(model: open_clip.CLIP, world: World, folder: Path) -> None:
    """Write the folder that `open_clip.create_model_and_transforms("local-dir:FOLDER")` loads."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "open_clip_config.json").write_text(json.dumps(clip_config(world), indent=2) + "\n", encoding="utf-8")
    write_weights(model.state_dict(), folder / "open_clip_model.safetensors")
    clip_tokenizer(world).save_pretrained(folder)


def load_clip(folder: Path) -> open_clip.CLIP:
    """The shipped CLIP, ready to encode."""
    model, _, _ = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    return model.eval()
