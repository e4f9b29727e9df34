"""Images to send: each another one, and each a good one."""

from hashlib import sha256
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from loadtests.pictures import Folder, Scenes, marked
from loadtests.profiles import BadProfile


def pixels(file: bytes) -> bytes:
    return Image.open(BytesIO(file)).convert("RGB").tobytes()


def test_no_two_scenes_are_alike_whatever_the_seed() -> None:
    files = [supply.next() for supply in (Scenes(1), Scenes(2), Scenes(2**63)) for _ in range(40)]
    assert len({sha256(pixels(file)).digest() for file in files}) == len(files)
    assert [Scenes(1).next() for _ in range(2)] == [files[0]] * 2


@pytest.mark.parametrize("format_name", ["PNG", "JPEG"])
def test_a_folders_images_differ_each_time_round_and_look_the_same(tmp_path: Path, format_name: str) -> None:
    flat = Image.new("RGB", (200, 120), (90, 140, 200))
    (tmp_path / "deep").mkdir()
    flat.save(tmp_path / "deep" / f"one.{format_name.lower()}", format_name)
    (tmp_path / "notes.txt").write_text("no image")
    supply, before = Folder(tmp_path, seed=3), np.asarray(flat, dtype=int)
    files = [supply.next() for _ in range(50)]
    assert len({sha256(pixels(file)).digest() for file in files}) == len(files)
    for file in files:
        after = Image.open(BytesIO(file))
        assert (after.format, after.size) == (format_name, flat.size)
        changed = np.abs(np.asarray(after.convert("RGB"), dtype=int) - before).max(axis=2) > 5
        assert 0 < changed.mean() < 0.1


def test_a_folder_without_images_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(BadProfile, match="There is no image in"):
        Folder(tmp_path, seed=1)


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**63))
def test_an_image_of_any_size_can_be_marked(width: int, height: int, seed: int) -> None:
    image = Image.new("RGB", (width, height), (250, 3, 128))
    after = marked(image, np.random.default_rng(seed))
    assert after.size == image.size
    assert after.tobytes() != image.tobytes()
