"""Scenes are a pure function of split, seed and index, and the splits differ as they say."""

import json
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from demo.scenes import Scene, draw_scene, draw_scenes, pixels_of
from demo.worlds import SHAPES, WORLDS, World

each_world = pytest.mark.parametrize("world", WORLDS.values(), ids=str)


def _share_of_theme(scenes: list[Scene]) -> float:
    return float(np.mean([thing.name in s.world.themes[s.theme] for s in scenes for thing in s.objects]))


def _render(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "demo", "render", "--out", str(folder), *options]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@each_world
def test_a_scene_is_the_same_every_time_and_another_under_another_seed(world: World) -> None:
    scene = draw_scene("dense", 3, 7, world)

    assert scene == draw_scene("dense", 3, 7, world)
    assert np.array_equal(pixels_of(scene), pixels_of(draw_scene("dense", 3, 7, world)))
    assert scene.objects != draw_scene("dense", 4, 7, world).objects


@each_world
def test_the_same_seed_and_index_give_unlike_scenes_in_training_and_test_splits(world: World) -> None:
    splits = ("in_distribution", "theme_breaking", "captions", "matching", "unlabelled")

    assert len({draw_scene(split, 0, 0, world).objects for split in splits}) == len(splits)


@pytest.mark.parametrize(
    ("split", "fewest", "most"),
    [("in_distribution", 2, 5), ("theme_breaking", 2, 5), ("dense", 6, 8), ("unlabelled", 2, 5)],
)
def test_a_split_holds_as_many_distinct_objects_as_it_says_one_a_cell(split: str, fewest: int, most: int) -> None:
    scenes = draw_scenes(split, 11, range(200))

    assert {len(scene.objects) for scene in scenes} == set(range(fewest, most + 1))
    assert all(len(scene.names) == len(scene.objects) for scene in scenes)
    assert all(sorted({thing.cell for thing in scene.objects}) == [t.cell for t in scene.objects] for scene in scenes)


@each_world
def test_themes_shape_the_first_split_and_not_the_second(world: World) -> None:
    # 6 of 24 or 7 of 30 objects belong to a theme, so chance alone gives about a quarter.
    assert _share_of_theme(draw_scenes("in_distribution", 11, range(400), world)) > 0.65
    assert 0.15 < _share_of_theme(draw_scenes("theme_breaking", 11, range(400), world)) < 0.35


def test_render_writes_pictures_with_their_ground_truth_and_the_same_bytes_again(tmp_path: Path) -> None:
    options = ("--count", "5", "--seed", "9", "--split", "theme_breaking")
    first, second = _render(tmp_path / "a", *options), _render(tmp_path / "b", *options)

    assert (first.returncode, second.returncode) == (0, 0)
    rows = [json.loads(line) for line in (tmp_path / "a" / "scenes.jsonl").read_text().splitlines()]
    assert [row["file"] for row in rows] == [f"scene-{k:05d}.png" for k in range(5)]
    for index, row in enumerate(rows):
        picture = tmp_path / "a" / row["file"]
        assert sha256(picture.read_bytes()).hexdigest() == row["sha256"]
        assert picture.read_bytes() == (tmp_path / "b" / row["file"]).read_bytes()
        scene = draw_scene("theme_breaking", 9, index)
        assert np.array_equal(np.asarray(Image.open(picture)), pixels_of(scene))
        assert {f"{thing['colour']} {thing['shape']}" for thing in row["objects"]} == scene.names
        assert (row["split"], row["seed"]) == ("theme_breaking", 9)
    images = [json.loads(line) for line in (tmp_path / "a" / "images.jsonl").read_text().splitlines()]
    assert [image["image"] for image in images] == [row["file"] for row in rows]
    assert all(set(images[k]["objects"]) == draw_scene("theme_breaking", 9, k).names for k in range(5))
    assert list(json.loads((tmp_path / "a" / "objects.json").read_text())) == list(SHAPES.object_names)


def test_render_says_in_one_sentence_where_it_cannot_write(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")

    done = _render(tmp_path / "file", "--count", "1")

    assert done.returncode == 2
    assert "cannot write to" in done.stderr
    assert "Traceback" not in done.stderr


def test_rendering_brings_no_torch() -> None:
    code = "import sys, demo.__main__; sys.exit('torch' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
