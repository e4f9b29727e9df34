"""What is selected keeps its bounds, does not hang on the order of the rows, and holds out images whole."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from trainer.rows import Row
from trainer.selection import Selection, is_held_out, select

IMAGES = ["a", "b", "c", "d"]


@st.composite
def some_rows(draw: st.DrawFn) -> list[Row]:
    return [
        Row(
            id=f"pair-{index}",
            image_sha256=draw(st.sampled_from(IMAGES)),
            prompt="",
            chosen="",
            rejected="",
            margin=draw(st.none() | st.floats(-1, 1)),
            verdict="keep",
            method=draw(st.sampled_from(["blend", "drop", "noise"])),
            policy=draw(st.sampled_from(["tiny", "tiny@one"])),
        )
        for index in range(draw(st.integers(0, 20)))
    ]


LIMITS = st.none() | st.integers(1, 6)
SELECTIONS = st.builds(
    Selection,
    max_margin=st.none() | st.floats(0, 1),
    per_image=LIMITS,
    per_policy=LIMITS,
    balance_methods=st.booleans(),
    count=LIMITS,
    held_out=st.floats(0, 1, exclude_max=True),
    seed=st.integers(0, 5),
)


@given(some_rows(), SELECTIONS)
def test_every_bound_is_kept(rows: list[Row], asked: Selection) -> None:
    found = select(rows, asked)
    taken = [row for row in rows if row.id in found]
    assert len(taken) == len(found) <= (asked.count or len(rows))
    for attribute, most in (("image_sha256", asked.per_image), ("policy", asked.per_policy)):
        counts = Counter(getattr(row, attribute) for row in taken)
        assert most is None or all(count <= most for count in counts.values())
    assert asked.max_margin is None or all(abs(row.margin or 0) <= asked.max_margin for row in taken)
    if asked.balance_methods:
        assert len(set(Counter(row.method for row in taken).values())) <= 1


@given(some_rows(), SELECTIONS, st.data())
def test_the_order_of_the_rows_does_not_matter(rows: list[Row], asked: Selection, data: st.DataObject) -> None:
    assert select(rows, asked) == select(data.draw(st.permutations(rows)), asked)


@given(some_rows(), SELECTIONS)
def test_an_image_is_on_one_side_only(rows: list[Row], asked: Selection) -> None:
    found = select(rows, asked)
    sides: dict[str, set[bool]] = {}
    for row in rows:
        if row.id in found:
            sides.setdefault(row.image_sha256, set()).add(found[row.id])
    assert all(len(side) == 1 for side in sides.values())


def test_without_bounds_everything_is_taken() -> None:
    rows = [Row(str(index), "image", "", "", "", None, "keep", "blend", "tiny") for index in range(9)]
    assert select(rows, Selection()) == {row.id: False for row in rows}


def test_another_seed_takes_others() -> None:
    rows = [Row(str(index), str(index), "", "", "", None, "keep", "blend", "tiny") for index in range(100)]
    first, second = (select(rows, Selection(count=30, seed=seed)) for seed in (0, 1))
    assert set(first) != set(second)


def test_about_the_asked_share_of_images_is_held_out() -> None:
    held_out = sum(is_held_out(f"image-{index}", 0.2) for index in range(2000))
    assert 330 < held_out < 470  # four standard deviations around 400
    assert not any(is_held_out(f"image-{index}", 0.0) for index in range(100))
