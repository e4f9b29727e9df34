"""The shipped weights load where users load them, and are what their model card says."""

import json
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open

from demo.__main__ import SHIPPED_WEIGHTS
from demo.captions import DEFAULT_PROMPT, PROMPTS, caption, sentences_of
from demo.card import bounds_of, card_text
from demo.evaluate import Evaluation
from demo.metrics import caption_figures
from demo.models.clip import token_ids
from demo.models.mllm import prompt_ids
from demo.models.tokenizer import clip_tokenizer, language_tokenizer
from demo.models.tower import pixel_values
from demo.models.two_pass import decode
from demo.scenes import Scene, draw_scenes, pixels_of
from demo.worlds import WORLDS, World
from pairs.settings import local_model

UNSEEN_SEED = 31_337  # neither trained on nor measured for the card
SCENES = 80
SETTING = {"shapes": "demo", "digits": "demo-digits"}


@pytest.fixture(scope="module", params=sorted(WORLDS))
def world(request: pytest.FixtureRequest) -> World:
    return WORLDS[request.param]


@pytest.fixture(scope="module")
def folder(world: World) -> Path:
    return SHIPPED_WEIGHTS[world.name]


@pytest.fixture(scope="module")
def card(folder: Path) -> dict[str, Any]:
    kept: dict[str, Any] = json.loads((folder / "model_card.json").read_text())
    return kept


@pytest.fixture(scope="module")
def shipped(folder: Path, world: World) -> Evaluation:
    torch.set_num_threads(1)
    return Evaluation(folder, world)


@pytest.fixture(scope="module")
def scenes(world: World) -> list[Scene]:
    return draw_scenes("in_distribution", UNSEEN_SEED, range(SCENES), world)


def test_every_bound_of_the_card_holds_on_at_least_500_scenes_a_split(card: dict[str, Any]) -> None:
    assert card["scenes_per_split"] >= 500
    assert [bound.claim for bound in bounds_of(card) if not bound.holds] == []
    assert all(bound["holds"] for bound in card["bounds"])


def test_the_card_is_of_its_world(card: dict[str, Any], world: World) -> None:
    assert (card["world"], card["about"]) == (world.name, world.about)


def test_the_card_for_people_shows_the_figures_of_the_card_for_programs(card: dict[str, Any], folder: Path) -> None:
    assert (folder / "MODEL_CARD.md").read_text() == card_text(card)


def test_the_weights_are_as_large_as_the_card_says_and_at_most_20_megabytes(card: dict[str, Any], folder: Path) -> None:
    size = sum(file.stat().st_size for part in ("mllm", "clip") for file in (folder / part).iterdir())

    assert size == card["bytes"] <= 20_000_000


@pytest.mark.parametrize("ratio", ["0.0", "0.75"])
def test_fresh_scenes_show_the_hallucination_of_the_card(
    ratio: str, card: dict[str, Any], shipped: Evaluation, scenes: list[Scene]
) -> None:
    answers = shipped.answers(scenes, torch.full((SCENES,), float(ratio)))
    figures = caption_figures([text for text, _ in answers], [scene.names for scene in scenes])
    promised = card["splits"]["in_distribution"]["by_ratio"][ratio]

    # Three standard errors of a share over some 280 mentions, which depend on each other a little.
    assert figures.chair_i == pytest.approx(promised["chair_i"], abs=0.09)
    assert figures.f1 == pytest.approx(promised["f1"], abs=0.09)


def test_the_tower_sees_fresh_scenes_as_the_card_says(
    card: dict[str, Any], shipped: Evaluation, scenes: list[Scene]
) -> None:
    assert shipped.tower_f1(scenes) == pytest.approx(card["splits"]["in_distribution"]["tower_f1"], abs=0.06)


def test_clip_ranks_fresh_scenes_as_the_card_says(
    card: dict[str, Any], shipped: Evaluation, scenes: list[Scene]
) -> None:
    promised = card["splits"]["in_distribution"]["clip"]["true_above_absent_object"]

    ranked = shipped.ranking(scenes, UNSEEN_SEED)["true_above_absent_object"]
    assert ranked == pytest.approx(promised, abs=0.1)
    assert ranked >= 0.9


def test_answers_are_several_plain_sentences_that_end_by_themselves(shipped: Evaluation, scenes: list[Scene]) -> None:
    answers = shipped.answers(scenes, torch.zeros(SCENES))

    assert np.mean([ended for _, ended in answers]) > 0.97
    assert np.mean([len(sentences_of(text)) for text, _ in answers]) >= 2
    assert all(text[0].isupper() and " ." not in text and "<" not in text for text, _ in answers)


@pytest.mark.parametrize("prompt", [*PROMPTS[1:4], "Zorp the frobnicated gizmo, would you kindly?"])
def test_other_prompts_and_unknown_words_are_answered_too(
    prompt: str, shipped: Evaluation, scenes: list[Scene]
) -> None:
    some = scenes[:20]
    answers = decode(
        shipped.mllm, shipped.world, pixel_values([pixels_of(scene) for scene in some]), torch.zeros(20), prompt
    )
    figures = caption_figures([text for text, _ in answers], [scene.names for scene in some])

    assert figures.f1 > 0.5


@pytest.mark.parametrize("part", ["mllm", "clip"])
def test_settings_name_the_weights_of_each_world(part: Literal["mllm", "clip"], folder: Path, world: World) -> None:
    assert Path(local_model(SETTING[world.name], part)) == folder / part


def test_the_shipped_tokenizers_are_those_of_the_training(folder: Path, world: World) -> None:
    from transformers import AutoTokenizer

    text = caption(draw_scenes("dense", UNSEEN_SEED, [0], world)[0].objects, np.random.default_rng(0))

    for part, made in (("mllm", language_tokenizer(world)), ("clip", clip_tokenizer(world))):
        kept = AutoTokenizer.from_pretrained(folder / part)
        assert kept.get_vocab() == made.get_vocab()
        assert kept(text).input_ids == made(text).input_ids
        assert kept.unk_token_id not in kept(text).input_ids


def test_transformers_loads_every_weight_and_vllm_finds_its_names(folder: Path) -> None:
    from transformers import LlavaForConditionalGeneration

    _, loading = LlavaForConditionalGeneration.from_pretrained(folder / "mllm", output_loading_info=True)
    with safe_open(folder / "mllm" / "model.safetensors", framework="pt") as weights:
        vision = [key for key in weights.keys() if "vision_tower" in key]  # noqa: SIM118 (not a mapping)

    assert not loading["missing_keys"]
    assert not loading["unexpected_keys"]
    assert vision
    assert all("vision_tower.vision_model." in key for key in vision)


@pytest.mark.parametrize("size", [(48, 48), (640, 427), (31, 200)])
def test_the_processor_makes_the_same_ids_and_pixels_for_any_photo(
    size: tuple[int, int], folder: Path, world: World
) -> None:
    from transformers import AutoProcessor

    processor = AutoProcessor.from_pretrained(folder / "mllm")
    content = [{"type": "image", "image": Image.new("RGB", size)}, {"type": "text", "text": DEFAULT_PROMPT}]
    chat = [{"role": "user", "content": content}]
    ready = processor.apply_chat_template(
        chat, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
    )
    text = processor.apply_chat_template(chat, add_generation_prompt=True, tokenize=False)

    assert ready["input_ids"][0].tolist() == prompt_ids(DEFAULT_PROMPT, world, with_image=True)
    assert ready["pixel_values"].shape == (1, 3, 48, 48)
    assert processor.tokenizer(text, add_special_tokens=True) == processor.tokenizer(text, add_special_tokens=False)


def test_pictures_of_scenes_reach_the_model_as_they_did_in_training(folder: Path, world: World) -> None:
    from transformers import AutoImageProcessor

    picture = pixels_of(draw_scenes("dense", UNSEEN_SEED, [0], world)[0])
    processor = AutoImageProcessor.from_pretrained(folder / "mllm")
    ready = processor(Image.fromarray(picture), return_tensors="pt")["pixel_values"]

    assert torch.allclose(ready, pixel_values([picture]), atol=1e-6)


def test_open_clip_loads_the_folder_with_its_tokenizer_and_pictures_as_in_training(folder: Path, world: World) -> None:
    import open_clip

    name = f"local-dir:{folder / 'clip'}"
    model, _, preprocess = open_clip.create_model_and_transforms(name)
    sentences = ["There is a red ring in the top left.", "A zorp photographs 99 frobnicated gizmos, doesn't it? " * 9]
    picture = pixels_of(draw_scenes("dense", UNSEEN_SEED, [0], world)[0])

    assert torch.equal(open_clip.get_tokenizer(name)(sentences), token_ids(sentences, world))
    assert torch.allclose(preprocess(Image.fromarray(picture))[None], pixel_values([picture]), atol=1e-6)
    assert torch.isfinite(model.encode_text(token_ids(sentences, world))).all()
