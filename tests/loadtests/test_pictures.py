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
from loadtests.pixels import pixels_of
from loadtests.profiles import BadProfile
from service.images import normalise


def pixels(file: bytes) -> bytes:
    return Image.open(BytesIO(file)).convert("RGB").tobytes()


def test_no_two_scenes_are_alike_whatever_the_seed() -> None:
    files = [supply.next().file for supply in (Scenes(1), Scenes(2), Scenes(2**63)) for _ in range(40)]
    assert len({sha256(pixels(file)).digest() for file in files}) == len(files)
    assert [Scenes(1).next().file for _ in range(2)] == [files[0]] * 2


@pytest.mark.parametrize("format_name", ["PNG", "JPEG"])
def test_a_folders_images_differ_each_time_round_and_look_the_same(tmp_path: Path, format_name: str) -> None:
    flat = Image.new("RGB", (200, 120), (90, 140, 200))
    (tmp_path / "deep").mkdir()
    flat.save(tmp_path / "deep" / f"one.{format_name.lower()}", format_name)
    (tmp_path / "notes.txt").write_text("no image")
    supply, before = Folder(tmp_path, seed=3), np.asarray(flat, dtype=int)
    files = [supply.next().file for _ in range(50)]
    assert len({sha256(pixels(file)).digest() for file in files}) == len(files)
    for file in files:
        after = Image.open(BytesIO(file))
        assert (after.format, after.size) == (format_name, flat.size)
        changed = np.abs(np.asarray(after.convert("RGB"), dtype=int) - before).max(axis=2) > 5
        assert 0 < changed.mean() < 0.1


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "I;16", "L"])
def test_the_pixels_of_what_is_lossless_are_those_that_a_gateway_keeps(tmp_path: Path, mode: str) -> None:
    turned = Image.Exif()
    turned[0x0112] = 6
    sides = np.indices((40, 60)).sum(axis=0).astype(np.uint8)
    grey = Image.fromarray(sides.astype(np.uint16) * 300) if mode == "I;16" else Image.fromarray(sides).convert(mode)
    grey.save(tmp_path / "one.png", exif=turned)
    for supply in (Scenes(1), Folder(tmp_path, seed=1)):
        picture = supply.next()
        kept = normalise(picture.file, max_pixels=10**6, max_side=1_000)
        assert picture.pixels == pixels_of(Image.open(BytesIO(kept.content)))


def test_of_a_jpeg_the_pixels_are_not_known_exactly(tmp_path: Path) -> None:
    Image.new("RGB", (20, 20)).save(tmp_path / "one.jpg")
    assert Folder(tmp_path, seed=1).next().pixels is None


def test_a_folder_without_images_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(BadProfile, match="There is no image in"):
        Folder(tmp_path, seed=1)


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**63))
def test_an_image_of_any_size_can_be_marked(width: int, height: int, seed: int) -> None:
    image = Image.new("RGB", (width, height), (250, 3, 128))
    after = marked(image, np.random.default_rng(seed))
    assert after.size == image.size
    assert after.tobytes() != image.tobytes()
