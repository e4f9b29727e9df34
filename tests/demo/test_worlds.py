"""The worlds: the first is pixel for pixel what its shipped weights have learnt, and the second shares no scan."""

import json
import subprocess
import sys
from collections.abc import Iterable
from hashlib import sha256

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_digits

from demo.captions import caption
from demo.models.tokenizer import clip_tokenizer, language_tokenizer
from demo.scenes import draw_scene, draw_scenes, pixels_of
from demo.worlds import DIGITS, SHAPES, WORLDS, World
from demo.worlds.digits import WORDS, scans_of

MEASURED = ("in_distribution", "theme_breaking", "dense", "unlabelled")
TRAINING = ("perception", "captions", "matching")
PIXELS = {
    "shapes": "e8dd22af67a2e321d2548ed190307ba683b55b31da83bcc2c2f36acb6c334d4a",
    "digits": "3dcab805f3c167a31700393ec2adc26123a437072ffbe3128be49fbf711c4ee1",
}
CAPTION = "In the top left there is a red ring and in the centre a blue disc."
LANGUAGE_IDS = [15, 61, 65, 46, 62, 45, 24, 52, 54, 25, 44, 61, 32, 24, 28, 38, 8]
CLIP_IDS = [2, 27, 46, 50, 29, 47, 28, 5, 37, 39, 6, 27, 46, 13, 5, 9, 19, 3, 57]


def _scans(splits: Iterable[str], seed: int) -> set[int]:
    scenes = [scene for split in splits for scene in draw_scenes(split, seed, range(10), DIGITS)]
    return {thing.drawing for scene in scenes for thing in scene.objects}


@pytest.mark.parametrize("world", WORLDS.values(), ids=str)
def test_the_pictures_are_those_that_the_shipped_weights_have_learnt(world: World) -> None:
    scenes = [scene for split in (*MEASURED, *TRAINING) for scene in draw_scenes(split, 7, range(4), world)]

    assert sha256(b"".join(pixels_of(scene).tobytes() for scene in scenes)).hexdigest() == PIXELS[world.name]


def test_the_token_ids_of_the_first_world_are_those_of_its_shipped_weights() -> None:
    assert language_tokenizer(SHAPES)(CAPTION).input_ids == LANGUAGE_IDS
    assert clip_tokenizer(SHAPES)(CAPTION).input_ids == CLIP_IDS


@pytest.mark.parametrize(("world", "objects", "size"), [(SHAPES, 24, 6), (DIGITS, 30, 7)], ids=str)
def test_six_themes_cover_all_objects_and_neighbours_share_two(world: World, objects: int, size: int) -> None:
    themes = [set(theme) for theme in world.themes]

    assert [len(theme) for theme in themes] == [size] * 6
    assert set().union(*themes) == set(world.object_names)
    assert len(world.object_names) == objects
    assert [len(themes[k] & themes[k - 1]) for k in range(6)] == [2] * 6


def test_every_scan_belongs_to_one_group_of_splits_and_none_is_left_over() -> None:
    groups = [[number for word in WORDS for number in scans_of(split, word)] for split in ("captions", *MEASURED)]

    assert sorted(number for group in groups for number in group) == list(range(1797))
    assert all(len(group) > 150 for group in groups)
    assert {scans_of(split, "three") for split in TRAINING} == {scans_of("captions", "three")}


@settings(max_examples=30, deadline=None)
@given(seeds=st.lists(st.integers(0, 2**32), min_size=5, max_size=5))
def test_no_scan_is_shared_between_training_each_measured_split_and_the_pool(seeds: list[int]) -> None:
    groups = [(split,) for split in MEASURED] + [TRAINING]
    drawn = [_scans(group, seed) for group, seed in zip(groups, seeds, strict=True)]

    assert len(set().union(*drawn)) == sum(len(scans) for scans in drawn)


def test_a_digit_is_drawn_from_a_scan_of_just_that_digit() -> None:
    written = load_digits().target
    things = [thing for scene in draw_scenes("dense", 3, range(40), DIGITS) for thing in scene.objects]

    assert [WORDS[written[thing.drawing]] for thing in things] == [thing.shape for thing in things]


def test_ink_lies_where_the_scan_has_it_and_keeps_its_colour() -> None:
    scene = next(s for s in draw_scenes("dense", 0, range(99), DIGITS) if any(t.contrast > 0.9 for t in s.objects))
    thing = next(thing for thing in scene.objects if thing.contrast > 0.9)
    row, column = divmod(thing.cell, 3)
    cell = pixels_of(scene)[row * 16 : row * 16 + 16, column * 16 : column * 16 + 16].astype(float)
    coverage = DIGITS.coverage_of(thing)

    assert coverage.shape == (16, 16)
    assert 0 <= coverage.min() < coverage.max() <= 1
    inked = cell[coverage > 0.8].mean(axis=0)
    assert np.argmax(inked) == list(DIGITS.colours).index(thing.colour)
    assert inked.sum() < cell[coverage == 0].mean(axis=0).sum() - 100


def test_captions_of_the_second_world_name_digits_by_ink_and_word() -> None:
    scene = draw_scene("in_distribution", 0, 0, DIGITS)

    assert all(thing.name in caption(scene.objects, np.random.default_rng(0)) for thing in scene.objects)
    assert all(name.split()[1] in WORDS for name in scene.names)


def test_render_takes_a_world_and_the_first_needs_no_scikit_learn(tmp_path_factory: pytest.TempPathFactory) -> None:
    out = tmp_path_factory.mktemp("digits")
    options = ["--world", "digits", "--split", "unlabelled", "--count", "3", "--out", str(out)]
    subprocess.run([sys.executable, "-m", "demo", "render", *options], check=True)
    rows = [json.loads(line) for line in (out / "scenes.jsonl").read_text().splitlines()]
    expected = [draw_scene("unlabelled", 0, index, DIGITS).names for index in range(3)]

    assert [{f"{thing['colour']} {thing['shape']}" for thing in row["objects"]} for row in rows] == expected
    assert list(json.loads((out / "objects.json").read_text())) == list(DIGITS.object_names)
    code = "import sys, demo.scenes as s; s.pixels_of(s.draw_scene('dense', 0, 0)); sys.exit('sklearn' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
