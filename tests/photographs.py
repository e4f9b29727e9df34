"""Real photographs in the forms that users have them, from what scikit-image and scikit-learn bundle."""

from collections.abc import Callable
from pathlib import Path

import skimage.data
from PIL import Image
from sklearn.datasets import load_sample_image

_ROTATED = 6  # EXIF orientation: the camera was held on its side


def write_photographs(folder: Path) -> list[Path]:
    """Eight files: EXIF rotation, alpha, WebP, greyscale, palette GIF, CMYK, 12 megapixels, and a plain JPEG."""
    folder.mkdir(parents=True, exist_ok=True)
    return [write(folder) for write in _WRITERS]


def _rotated_jpeg(folder: Path) -> Path:
    path = folder / "astronaut-rotated.jpg"
    exif = Image.Exif()
    exif[0x0112] = _ROTATED
    Image.fromarray(skimage.data.astronaut()).crop((0, 0, 512, 300)).save(path, exif=exif)
    return path


def _png_with_alpha(folder: Path) -> Path:
    path = folder / "coffee-alpha.png"
    picture = Image.fromarray(skimage.data.coffee()).convert("RGBA")
    picture.putalpha(Image.linear_gradient("L").resize(picture.size))
    picture.save(path)
    return path


def _webp(folder: Path) -> Path:
    path = folder / "chelsea.webp"
    Image.fromarray(skimage.data.chelsea()).save(path)
    return path


def _greyscale(folder: Path) -> Path:
    path = folder / "camera-grey.png"
    Image.fromarray(skimage.data.camera()).save(path)
    return path


def _gif(folder: Path) -> Path:
    path = folder / "rocket.gif"
    Image.fromarray(skimage.data.rocket()).quantize(64).save(path)
    return path


def _cmyk(folder: Path) -> Path:
    path = folder / "flower-cmyk.jpg"
    Image.fromarray(load_sample_image("flower.jpg")).convert("CMYK").save(path)
    return path


def _twelve_megapixels(folder: Path) -> Path:
    path = folder / "china-12mp.jpg"
    Image.fromarray(load_sample_image("china.jpg")).resize((4000, 3000)).save(path, quality=85)
    return path


def _plain_jpeg(folder: Path) -> Path:
    path = folder / "flower.jpg"
    Image.fromarray(load_sample_image("flower.jpg")).save(path)
    return path


_WRITERS: tuple[Callable[[Path], Path], ...] = (
    _rotated_jpeg,
    _png_with_alpha,
    _webp,
    _greyscale,
    _gif,
    _cmyk,
    _twelve_megapixels,
    _plain_jpeg,
)
