"""The figures of captions, against cases worked out by hand."""

import pytest

from demo.metrics import caption_figures, object_score, set_f1
from pairs.metrics import f1, precision, recall

TWO = frozenset({"red ring", "blue disc"})


def test_precision_recall_and_f1_of_one_caption() -> None:
    said = {"red ring", "green cross", "yellow disc"}

    assert precision(said, TWO) == pytest.approx(1 / 3)
    assert recall(said, TWO) == pytest.approx(1 / 2)
    assert f1(said, TWO) == pytest.approx(2 / 5)


def test_saying_nothing_is_never_wrong_and_finds_nothing() -> None:
    assert (precision(set(), TWO), recall(set(), TWO), f1(set(), TWO)) == (1.0, 0.0, 0.0)
    assert (precision(set(), set()), recall(set(), set()), f1(set(), set())) == (1.0, 1.0, 1.0)


def test_figures_of_captions_add_up_before_they_divide() -> None:
    texts = [
        "There is a red ring at the top. A green cross is on the left. A green cross is on the right.",
        "There is a blue disc in the centre.",
        "Nothing.",
    ]
    figures = caption_figures(texts, [TWO, TWO, TWO])

    assert figures.captions == 3
    assert figures.precision == pytest.approx(2 / 3)
    assert figures.recall == pytest.approx(2 / 6)
    assert figures.f1 == pytest.approx(4 / 9)
    assert figures.chair_i == pytest.approx(2 / 4)  # the cross is mentioned twice
    assert figures.chair_s == pytest.approx(1 / 3)
    assert figures.mean_words == pytest.approx((22 + 8 + 1) / 3)


def test_no_captions_have_figures_too() -> None:
    figures = caption_figures([], [])

    assert (figures.captions, figures.precision, figures.chair_i, figures.mean_words) == (0, 1.0, 0.0, 0.0)


def test_texts_and_scenes_must_match_in_number() -> None:
    with pytest.raises(ValueError, match="zip"):
        caption_figures(["A red ring is at the top."], [])


def test_a_text_is_better_by_precision_and_then_by_f1() -> None:
    right, both = object_score("A red ring.", TWO), object_score("A red ring and a blue disc.", TWO)
    wrong = object_score("A red ring, a blue disc and a green cross.", TWO)

    assert wrong < right < both


def test_f1_of_found_sets_over_images() -> None:
    assert set_f1([{"a", "b"}, {"c"}], [{"a"}, {"c", "d"}]) == pytest.approx(2 * 2 / 6)
