"""What an image becomes when it is admitted: an upright RGB PNG on white, the same bytes for the same picture."""

import io
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pairs.errors import InvalidField, NotAnImage, TooLarge
from service.images import NormalImage, mixed_with_noise, normalise
from tests.photographs import write_photographs
from tests.service.pictures import animation, picture, png_that_claims

_PIXELS, _SIDE = 50_000_000, 1536


def admitted(raw: bytes, max_side: int = _SIDE) -> Image.Image:
    normal = normalise(raw, _PIXELS, max_side)
    image = Image.open(io.BytesIO(normal.content))
    assert (image.format, image.mode, image.size) == ("PNG", "RGB", (normal.width, normal.height))
    return image


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "GIF"])
def test_each_form_is_admitted(form: str) -> None:
    assert admitted(picture(form)).size == (48, 32)


@pytest.mark.parametrize(("form", "mode"), [("PNG", "L"), ("PNG", "P"), ("PNG", "1"), ("PNG", "LA"), ("JPEG", "CMYK")])
def test_each_mode_becomes_rgb(form: str, mode: str) -> None:
    admitted(picture(form, mode=mode))


def test_sixteen_bits_of_grey_keep_their_shades() -> None:
    grey = np.linspace(0, 65535, 48 * 32).reshape(32, 48).astype(np.uint16)
    buffer = io.BytesIO()
    Image.fromarray(grey).save(buffer, "PNG")
    shades = np.asarray(admitted(buffer.getvalue()))[..., 0]
    assert np.abs(shades.astype(int) - (grey >> 8)).max() <= 1


def test_transparency_lies_on_white() -> None:
    buffer = io.BytesIO()
    Image.new("RGBA", (8, 8), (255, 0, 0, 0)).save(buffer, "PNG")
    assert admitted(buffer.getvalue()).getpixel((4, 4)) == (255, 255, 255)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_image_is_turned_upright(orientation: int) -> None:
    corner = Image.new("RGB", (40, 20))
    corner.paste((255, 255, 255), (0, 0, 10, 10))
    exif = Image.Exif()
    exif[0x0112] = orientation
    buffer = io.BytesIO()
    corner.save(buffer, "PNG", exif=exif)
    upright = np.asarray(admitted(buffer.getvalue()))[..., 0]
    assert upright.shape == ((20, 40) if orientation < 5 else (40, 20))
    rows, columns = np.nonzero(upright)
    place = rows.mean() > upright.shape[0] / 2, columns.mean() > upright.shape[1] / 2
    expected = {1: (0, 0), 2: (0, 1), 3: (1, 1), 4: (1, 0), 5: (0, 0), 6: (0, 1), 7: (1, 1), 8: (1, 0)}
    assert place == expected[orientation]


def test_exif_that_cannot_be_read_does_not_cost_the_image() -> None:
    assert admitted(picture("JPEG", exif=b"Exif\0\0nonsense")).size == (48, 32)


def test_the_longer_side_is_scaled_down_and_never_up() -> None:
    assert admitted(picture(size=(400, 200)), max_side=100).size == (100, 50)
    assert admitted(picture("JPEG", size=(200, 400)), max_side=100).size == (50, 100)
    assert admitted(picture(size=(40, 20)), max_side=100).size == (40, 20)


def test_of_an_animation_the_first_frame_is_kept() -> None:
    assert admitted(animation(30, (60, 60))).getpixel((5, 5)) == (0, 0, 0)


def test_a_normal_image_stays_as_it_is() -> None:
    once = normalise(picture("JPEG", exif=b"", comment=b"hello"), _PIXELS, _SIDE)
    assert normalise(once.content, _PIXELS, _SIDE) == once


def test_pixels_are_counted_before_decoding() -> None:
    with pytest.raises(TooLarge, match="20000"):
        normalise(png_that_claims(20_000, 4_000), 50_000_000, _SIDE)
    with pytest.raises(TooLarge):
        normalise(png_that_claims(60_000, 60_000), 50_000_000, _SIDE)


@given(st.binary(max_size=200))
def test_no_bytes_do_worse_than_a_problem(raw: bytes) -> None:
    with pytest.raises(NotAnImage):
        normalise(raw, _PIXELS, _SIDE)


@given(st.sampled_from(["JPEG", "PNG", "WEBP", "GIF"]), st.data())
def test_a_damaged_file_is_an_image_or_a_problem(form: str, data: st.DataObject) -> None:
    raw = bytearray(picture(form))
    for place in data.draw(st.lists(st.integers(0, len(raw) - 1), min_size=1, max_size=8)):
        raw[place] = data.draw(st.integers(0, 255))
    with suppress(NotAnImage, TooLarge, InvalidField):
        assert isinstance(normalise(bytes(raw), 1_000_000, _SIDE), NormalImage)


def test_photographs_of_all_kinds_are_admitted(tmp_path: Path) -> None:
    for path in write_photographs(tmp_path):
        image = admitted(path.read_bytes())
        assert max(image.size) <= _SIDE
        assert np.asarray(image).std() > 10, path.name


def test_noise_is_seeded_and_mixed_by_its_share() -> None:
    png = normalise(picture(size=(96, 96)), _PIXELS, _SIDE).content
    before = np.asarray(Image.open(io.BytesIO(png))).astype(float)
    half, again, other = (mixed_with_noise(png, 0.5, seed) for seed in (1, 1, 2))
    assert half == again != other
    assert mixed_with_noise(png, 0.0, 1) == png
    distances = [
        np.abs(np.asarray(Image.open(io.BytesIO(mixed_with_noise(png, share, 1)))) - before).mean()
        for share in (0.1, 0.4, 0.7, 1.0)
    ]
    assert distances == sorted(distances)
