"""The gate: what a round's adapter must be to take its parent's place."""

from typing import Any

from hypothesis import assume, given
from hypothesis import strategies as st

from judgefree.improvement.gate import LEAST_LENGTH, judge
from tests.judgefree.evaluations import a_data_set, some_figures

FIGURES = st.builds(some_figures, st.floats(0, 1), st.floats(0, 1), st.floats(0.1, 100))
DATA = st.builds(a_data_set, st.text(), st.just("new"), st.just("old"), FIGURES, FIGURES, st.floats(0, 0.5))
EVALUATIONS = st.builds(lambda data: {"models": ["new", "old"], "data": data}, st.lists(DATA, min_size=1, max_size=4))


def _high(data: dict[str, Any], figure: str) -> float:
    high: float = data["comparison"]["differences"][figure]["high"]
    return high


def _words(data: dict[str, Any], model: str) -> float:
    words: float = data["figures"][model]["estimates"]["mean_words"]["value"]
    return words


@given(EVALUATIONS)
def test_promoted_is_what_is_nowhere_worse_nowhere_much_shorter_and_somewhere_hallucinates_less(
    evaluation: dict[str, Any],
) -> None:
    data = evaluation["data"]
    is_worse = any(_high(one, "f1") < 0 for one in data)
    is_shorter = any(_words(one, "new") < LEAST_LENGTH * _words(one, "old") for one in data)
    is_better = any(_high(one, "chair_i") < 0 for one in data)
    verdict = judge(evaluation)
    assert verdict.is_promoted == (is_better and not is_worse and not is_shorter)
    assert verdict.reasons


@given(EVALUATIONS)
def test_never_promoted_where_f1_is_worse_beyond_its_interval(evaluation: dict[str, Any]) -> None:
    worse = [one["name"] for one in evaluation["data"] if _high(one, "f1") < 0]
    assume(worse)
    verdict = judge(evaluation)
    assert not verdict.is_promoted
    assert all(any(f"F1 is worse on {name}" in reason for reason in verdict.reasons) for name in worse)


def _judged(ours: dict[str, float], theirs: dict[str, float], within: float = 0.01) -> tuple[bool, str]:
    verdict = judge({"models": ["new", "old"], "data": [a_data_set("scenes", "new", "old", ours, theirs, within)]})
    return verdict.is_promoted, "; ".join(verdict.reasons)


def test_a_reason_says_the_figure_the_data_set_and_the_interval() -> None:
    assert _judged(some_figures(0.1), some_figures(0.2)) == (
        True,
        "CHAIR_i is better on scenes: -0.100 (-0.110 to -0.090)",
    )
    assert _judged(some_figures(0.1, f1=0.5), some_figures(0.2, f1=0.6)) == (
        False,
        "F1 is worse on scenes: -0.100 (-0.110 to -0.090)",
    )


def test_better_within_the_interval_is_not_better() -> None:
    assert _judged(some_figures(0.1), some_figures(0.2), within=0.2) == (
        False,
        "CHAIR_i is better, beyond its interval, on no data set",
    )


def test_a_model_that_says_little_is_not_promoted() -> None:
    is_promoted, said = _judged(some_figures(0.1, mean_words=23.9), some_figures(0.2))
    assert not is_promoted
    assert "answers on scenes fell from 30.0 to 23.9 words" in said
    assert _judged(some_figures(0.1, mean_words=24.0), some_figures(0.2))[0]


def test_yes_no_questions_have_a_say_in_f1_alone() -> None:
    polled = a_data_set("poll", "new", "old", {"f1": 0.5}, {"f1": 0.7})
    scenes = a_data_set("scenes", "new", "old", some_figures(0.1), some_figures(0.2))
    verdict = judge({"models": ["new", "old"], "data": [scenes, polled]})
    assert verdict.reasons == ("F1 is worse on poll: -0.200 (-0.210 to -0.190)",)
    polled = a_data_set("poll", "new", "old", {"f1": 0.8}, {"f1": 0.7})
    assert judge({"models": ["new", "old"], "data": [scenes, polled]}).is_promoted
    assert not judge({"models": ["new", "old"], "data": [polled]}).is_promoted
