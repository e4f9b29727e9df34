"""Pictures to send: unseen scenes of the demo world, as PNG files."""

from io import BytesIO

from PIL import Image

from demo.scenes import draw_scenes, pixels_of


def scene_pngs(count: int, seed: int) -> list[bytes]:
    files = []
    for scene in draw_scenes("theme_breaking", seed, range(count)):
        buffer = BytesIO()
        Image.fromarray(pixels_of(scene)).save(buffer, "PNG")
        files.append(buffer.getvalue())
    return files
