"""The collapse watch: its figures, and each of its bounds."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from judgefree.improvement.watch import LEAST, MOST, bounds, decided, figures, passed

BEFORE = {"mean_words": 30.0, "distinct_2": 0.2, "repetition": 0.1, "decided": 0.6}
WELL = BEFORE | {"kl": 0.1}


def test_figures_of_answers() -> None:
    answers = ["a red ring is here", "a red ring", ""]
    found = figures(answers)
    assert found["mean_words"] == pytest.approx(8 / 3)
    assert found["distinct_2"] == pytest.approx(4 / 6)
    assert found["repetition"] == 0.0


def test_an_answer_repeats_itself_where_four_words_in_a_row_come_again() -> None:
    assert figures(["there is a ring and there is a ring", "there is a ring and there is a disc"])["repetition"] == 0.5


@given(st.lists(st.text(alphabet="ab ", max_size=30), max_size=10))
def test_shares_are_shares_whatever_is_said(answers: list[str]) -> None:
    found = figures(answers)
    assert 0 <= found["distinct_2"] <= 1
    assert 0 <= found["repetition"] <= 1
    assert found["mean_words"] >= 0


def test_what_was_kept_or_swapped_is_decided() -> None:
    assert decided({"kept": 3, "swapped": 2, "discarded": 5}) == 0.5
    assert decided({}) == 0.0


def test_what_goes_well_passes_no_bound() -> None:
    assert passed(BEFORE, WELL) is None
    assert passed(BEFORE, BEFORE) is None


@pytest.mark.parametrize("name", sorted(LEAST))
def test_what_falls_below_its_share_is_said(name: str) -> None:
    bound = LEAST[name] * BEFORE[name]
    assert passed(BEFORE, WELL | {name: bound}) is None
    said = passed(BEFORE, WELL | {name: 0.99 * bound})
    assert said == f"{name} fell from {BEFORE[name]:.3g} to {0.99 * bound:.3g}"


@pytest.mark.parametrize("name", sorted(MOST))
def test_what_rises_by_too_much_is_said(name: str) -> None:
    before = BEFORE.get(name, 0.0)
    assert passed(BEFORE, WELL | {name: before + MOST[name]}) is None
    said = passed(BEFORE, WELL | {name: before + MOST[name] + 0.01})
    assert said == f"{name} rose from {before:.3g} to {before + MOST[name] + 0.01:.3g}"


@given(st.dictionaries(st.sampled_from(sorted(WELL)), st.floats(0, 100)))
def test_a_bound_is_passed_exactly_where_a_figure_is_outside_what_is_told_of_it(now: dict[str, float]) -> None:
    told = bounds(BEFORE)
    is_outside = any(
        (least is not None and now[name] < least) or (most is not None and now[name] > most)
        for name, (least, most) in told.items()
        if name in now
    )
    assert (passed(BEFORE, now) is not None) == is_outside


def test_a_figure_that_was_not_measured_before_bounds_only_from_above() -> None:
    assert bounds({}) == {name: (None, most) for name, most in MOST.items()}
