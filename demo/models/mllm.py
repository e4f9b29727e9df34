"""The tiny LLaVA: the frozen tower, a projector and a small Llama, taught to caption scenes of strong themes.

It is kept imperfect on purpose. Captions carry noise that follows the themes (an object renamed to another of its
theme, one of the theme added), so that a language prior grows that hallucinates; every eighth batch has no image, so
that the blind context of the paired method is one that the model knows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import (
    CLIPImageProcessorPil,
    GenerationConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
)

from demo.captions import DEFAULT_PROMPT, PROMPTS, caption, vocabulary
from demo.models.tokenizer import IMAGE, UNKNOWN, language_tokenizer
from demo.models.tower import PATCH_SIDE, PATCHES, PIXEL_MEAN, PIXEL_STD, PatchReader, pixel_values, tower_config
from demo.models.training import Progress, Recipe, train, write_weights
from demo.scenes import Scene, draw_scenes, pixels_of
from demo.worlds import IMAGE_SIDE, PLACES, WORLDS, SceneObject, World

BLIND_EVERY = 8
STRANGE_PROMPTS = 0.2
"""Share of training prompts that are drawn at random from all words and unknown ones, 1 to 12 long."""
RENAMED = 0.15
"""Chance that an object of a training caption is renamed to another of the scene's theme."""
ADDED = 0.3
"""Chance that a training caption names one more object, of the scene's theme, that is not there."""


def language_config(world: World) -> LlamaConfig:
    tokenizer = language_tokenizer(world)
    return LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=128,
        intermediate_size=384,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=512,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )


def new_model(reader: PatchReader) -> LlavaForConditionalGeneration:
    """An untrained LLaVA around a copy of the trained tower, which is frozen."""
    config = LlavaConfig(
        vision_config=tower_config(),
        text_config=language_config(reader.world),
        image_token_index=language_tokenizer(reader.world).convert_tokens_to_ids(IMAGE),
        vision_feature_layer=-1,
        vision_feature_select_strategy="default",
        image_seq_length=PATCHES,
    )
    model = LlavaForConditionalGeneration(config)
    tower = model.model.vision_tower
    tower.load_state_dict(reader.tower.state_dict())
    tower.requires_grad_(False)
    return model


def new_processor(world: World) -> LlavaProcessor:
    """Prepares any photo (shorter side to 48, centre cut out) and any chat for the model."""
    tokenizer = language_tokenizer(world)
    return LlavaProcessor(
        image_processor=CLIPImageProcessorPil(
            size={"shortest_edge": IMAGE_SIDE},
            crop_size={"height": IMAGE_SIDE, "width": IMAGE_SIDE},
            image_mean=list(PIXEL_MEAN),
            image_std=list(PIXEL_STD),
        ),
        tokenizer=tokenizer,
        patch_size=PATCH_SIDE,
        vision_feature_select_strategy="default",
        chat_template=tokenizer.chat_template,
        image_token=IMAGE,
        num_additional_image_tokens=1,
    )


def chat_text(prompt: str, world: World, *, with_image: bool, answer: str | None = None) -> str:
    """The chat of one question as the template writes it, the image's token repeated once a patch."""
    content: list[dict[str, str]] = [{"type": "image"}] if with_image else []
    messages: list[dict[str, Any]] = [{"role": "user", "content": [*content, {"type": "text", "text": prompt}]}]
    if answer is not None:
        messages.append({"role": "assistant", "content": [{"type": "text", "text": answer}]})
    text: str = language_tokenizer(world).apply_chat_template(
        messages, tokenize=False, add_generation_prompt=answer is None
    )
    return text.replace(IMAGE, IMAGE * PATCHES)


def prompt_ids(prompt: str, world: World, *, with_image: bool) -> list[int]:
    """Token ids of a question up to where the answer begins."""
    ids: list[int] = language_tokenizer(world)(chat_text(prompt, world, with_image=with_image)).input_ids
    return ids


@dataclass(frozen=True)
class _Batch:
    input_ids: Tensor
    labels: Tensor
    pixel_values: Tensor | None


def noisy_objects(scene: Scene, rng: np.random.Generator) -> list[SceneObject]:
    """The scene's objects as a careless captioner of its theme would name them, in reading order."""
    taken = set(scene.names)
    named: list[SceneObject] = []

    def another() -> tuple[str, str] | None:
        left = [name for name in scene.world.themes[scene.theme] if name not in taken]
        if not left:
            return None
        name = left[int(rng.integers(len(left)))]
        taken.add(name)
        colour, shape = name.split()
        return colour, shape

    for thing in scene.objects:
        swap = another() if rng.random() < RENAMED else None
        named.append(replace(thing, colour=swap[0], shape=swap[1]) if swap else thing)
    extra = another() if rng.random() < ADDED else None
    if extra is not None:
        cells = {thing.cell for thing in scene.objects}
        free = [cell for cell in range(len(PLACES)) if cell not in cells]
        cell = free[int(rng.integers(len(free)))]
        named.append(replace(scene.objects[0], colour=extra[0], shape=extra[1], cell=cell))
    return sorted(named, key=lambda thing: thing.cell)


def _question(world: World, rng: np.random.Generator) -> str:
    if rng.random() < STRANGE_PROMPTS:
        words = [*vocabulary(world), *[UNKNOWN] * 40]
        return " ".join(words[int(k)] for k in rng.integers(len(words), size=rng.integers(1, 13)))
    return DEFAULT_PROMPT if rng.random() < 0.5 else PROMPTS[int(rng.integers(len(PROMPTS)))]


def _batch(plan: Recipe, step: int) -> _Batch:
    rng = np.random.default_rng([plan.seed, 100, step])
    world = WORLDS[plan.world]
    tokenizer = language_tokenizer(world)
    scenes = draw_scenes("captions", plan.seed, plan.indices(step), world)
    with_image = step % BLIND_EVERY != BLIND_EVERY - 1
    rows: list[tuple[list[int], int]] = []
    for scene in scenes:
        question, answer = _question(world, rng), caption(noisy_objects(scene, rng), rng)
        ids = tokenizer(chat_text(question, world, with_image=with_image, answer=answer)).input_ids
        rows.append((ids, len(prompt_ids(question, world, with_image=with_image))))
    longest = max(len(ids) for ids, _ in rows)
    input_ids = torch.full((len(rows), longest), int(tokenizer.pad_token_id))
    labels = torch.full((len(rows), longest), -100)
    for number, (ids, asked) in enumerate(rows):
        input_ids[number, : len(ids)] = torch.tensor(ids)
        labels[number, asked : len(ids)] = torch.tensor(ids[asked:])
    pixels = pixel_values([pixels_of(scene) for scene in scenes]) if with_image else None
    return _Batch(input_ids, labels, pixels)


def recipe(world: World, seed: int, *, fast: bool) -> Recipe:
    if fast:
        return Recipe("mllm", world.name, seed, steps=12, batch_size=4, peak_lr=2e-3, checkpoint_every=2)
    return Recipe("mllm", world.name, seed, steps=world.steps["mllm"], batch_size=32, peak_lr=2e-3)


def train_mllm(
    reader: PatchReader, plan: Recipe, checkpoint: Path, progress: Progress
) -> LlavaForConditionalGeneration:
    """The trained LLaVA; goes on from the checkpoint where there is one."""
    torch.manual_seed(plan.seed)
    model = new_model(reader)

    def loss_of_step(step: int) -> Tensor:
        batch = _batch(plan, step)
        # Right padding needs no attention mask: what comes after a token is never looked at.
        output = model(input_ids=batch.input_ids, pixel_values=batch.pixel_values, labels=batch.labels)
        loss: Tensor = output.loss
        return loss

    train(model, plan, loss_of_step, checkpoint, progress)
    return model


def save_mllm(model: LlavaForConditionalGeneration, world: World, folder: Path) -> None:
    """Write the Hugging Face folder that vLLM loads unmodified.

    transformers 5 saves the vision keys as `vision_tower.embeddings...`; vLLM 0.32 looks for them with
    `vision_model.` in between, and transformers reads both.
    """
    tokenizer = language_tokenizer(world)
    model.generation_config = GenerationConfig(
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model.save_pretrained(folder)
    new_processor(world).save_pretrained(folder)
    weights = load_file(folder / "model.safetensors")
    write_weights({_vllm_key(key): value for key, value in weights.items()}, folder / "model.safetensors")


def _vllm_key(key: str) -> str:
    before, tower, after = key.partition("vision_tower.")
    if not tower or after.startswith("vision_model."):
        return key
    return f"{before}{tower}vision_model.{after}"


def load_mllm(folder: Path) -> LlavaForConditionalGeneration:
    """The shipped model, ready to be asked."""
    load: Callable[..., LlavaForConditionalGeneration] = LlavaForConditionalGeneration.from_pretrained
    return load(folder, dtype=torch.float32).eval()
