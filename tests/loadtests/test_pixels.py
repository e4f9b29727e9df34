from io import BytesIO

from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from loadtests.pixels import MOST_LARGE, SMALL, Pixels, is_same, pixels_of, to_compare
from service.images import normalise

SIDES = st.integers(16, 90)


def png(image: Image.Image) -> bytes:
    buffer = BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


@given(SIDES, SIDES, SIDES)
def test_an_image_that_a_gateway_keeps_or_scales_down_is_never_taken_for_another(
    width: int, height: int, max_side: int
) -> None:
    image = Image.new("RGB", (width, height), (1, 2, 3))
    kept = normalise(png(image), max_pixels=10**6, max_side=max_side)
    stored = Pixels(width=kept.width, height=kept.height, sha256=pixels_of(image)["sha256"])
    assert is_same(pixels_of(image), stored) is (True if max(width, height) <= max_side else None)


@given(SIDES, SIDES, SIDES, SIDES, SIDES)
def test_of_two_that_changed_places_one_is_found_unless_both_were_scaled_down_alike(
    width: int, height: int, other_width: int, other_height: int, max_side: int
) -> None:
    sides = [(width, height), (other_width, other_height)]
    sent = [Pixels(width=one, height=two, sha256=f"sent-{place}") for place, (one, two) in enumerate(sides)]
    kept = [normalise(png(Image.new("RGB", one)), 10**6, max_side) for one in sides]
    stored = [Pixels(width=one.width, height=one.height, sha256=f"kept-{place}") for place, one in enumerate(kept)]
    found = [is_same(sent[0], stored[1]), is_same(sent[1], stored[0])]
    are_alike = (kept[0].width, kept[0].height) == (kept[1].width, kept[1].height)
    assert False in found or (are_alike and min(map(max, sides)) > max_side)


@given(st.integers(0, 1_000), st.integers(0, 1_000), st.integers(0, 50))
def test_all_small_images_are_compared_and_of_large_ones_so_many_at_most(small: int, large: int, unknown: int) -> None:
    sent: dict[str, Pixels | None] = {f"small-{one}": Pixels(width=SMALL, height=1, sha256="") for one in range(small)}
    sent |= {f"large-{one}": Pixels(width=SMALL, height=2, sha256="") for one in range(large)}
    sent |= {f"unknown-{one}": None for one in range(unknown)}
    chosen = to_compare(sent)
    assert len(set(chosen)) == len(chosen)
    assert sum(one.startswith("small") for one in chosen) == small
    assert min(large, MOST_LARGE // 2) <= sum(one.startswith("large") for one in chosen) <= MOST_LARGE
    assert not any(one.startswith("unknown") for one in chosen)
