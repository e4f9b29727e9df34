"""Keep, swap or discard: what holds for any two answers."""

from datetime import timedelta

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from pairs.clock import now
from pairs.model import Answer, Answers, Decision, DiscardReason, Pair, SentenceScore, Verifier
from tests.examples import a_candidate, a_job
from workers.clip.scoring import margin, scored
from workers.clip.verdict import Provenance, Ruling, finished, rule, time_spent

COSINES = st.floats(-1, 1)
TEXTS = st.sampled_from(["", " ", "a cup", "a cup ", "a dog", "two dogs"])


@st.composite
def an_answer(draw: st.DrawFn) -> Answer:
    text = draw(TEXTS)
    return Answer(
        text=text,
        finish_reason=draw(st.sampled_from(["stop", "length"])),
        score=draw(COSINES) if text.strip() else None,
    )


def fine(text: str, score: float) -> Answer:
    return Answer(text=text, finish_reason="stop", score=score)


OTHER_WAY = {
    Decision.KEPT: Decision.SWAPPED,
    Decision.SWAPPED: Decision.KEPT,
    Decision.DISCARDED: Decision.DISCARDED,
}


@given(an_answer(), an_answer(), st.floats(0, 2))
def test_exchanging_the_answers_turns_the_verdict_round(one: Answer, other: Answer, threshold: float) -> None:
    ruling, turned = rule(one, other, threshold), rule(other, one, threshold)
    assert turned == Ruling(
        OTHER_WAY[ruling.decision], ruling.reason, None if ruling.margin is None else -ruling.margin
    )


@given(COSINES, COSINES, st.floats(0, 2))
def test_only_a_margin_past_the_threshold_decides(one: float, other: float, threshold: float) -> None:
    ruling = rule(fine("a", one), fine("b", other), threshold)
    assert ruling.margin == one - other
    expected = (
        Decision.KEPT
        if one - other > threshold
        else Decision.SWAPPED
        if one - other < -threshold
        else Decision.DISCARDED
    )
    assert ruling.decision is expected
    assert ruling.reason is (DiscardReason.WITHIN_THRESHOLD if expected is Decision.DISCARDED else None)


@given(an_answer(), an_answer(), st.floats(0, 2))
def test_a_reason_is_given_for_a_discard_and_for_nothing_else(one: Answer, other: Answer, threshold: float) -> None:
    ruling = rule(one, other, threshold)
    assert (ruling.reason is not None) == (ruling.decision is Decision.DISCARDED)


@given(COSINES, COSINES, st.floats(0, 2), st.floats(0, 2))
def test_a_higher_threshold_only_ever_discards_more(one: float, other: float, low: float, high: float) -> None:
    assume(low <= high)
    strict, lax = (rule(fine("a", one), fine("b", other), threshold).decision for threshold in (high, low))
    assert strict in (lax, Decision.DISCARDED)


@pytest.mark.parametrize(
    ("normal", "injected", "reason"),
    [
        (("", "length"), ("", "stop"), DiscardReason.EMPTY_ANSWER),
        (("a cup", "length"), (" ", "length"), DiscardReason.EMPTY_ANSWER),
        (("a cup", "length"), ("a cup", "length"), DiscardReason.TRUNCATED),
        (("a cup", "stop"), ("a dog", "length"), DiscardReason.TRUNCATED),
        (("a cup", "stop"), ("a cup\n", "stop"), DiscardReason.EQUAL_ANSWERS),
        (("a cup", "stop"), ("a dog", "stop"), DiscardReason.WITHIN_THRESHOLD),
    ],
)
def test_reasons_hold_in_their_order(normal: tuple[str, str], injected: tuple[str, str], reason: DiscardReason) -> None:
    one, other = (
        Answer(text=text, finish_reason=finish, score=0.5 if text.strip() else None)
        for text, finish in (normal, injected)
    )
    assert rule(one, other, 0.03).reason is reason


@given(st.lists(COSINES, min_size=1, max_size=9))
def test_an_answers_score_is_the_mean_over_its_sentences(values: list[float]) -> None:
    raw = fine("text", 0)
    answer = scored(raw, [f"s{index}" for index in range(len(values))], values)
    assert answer.score == pytest.approx(sum(values) / len(values), abs=1e-12)
    assert answer.sentences == tuple(SentenceScore(text=f"s{index}", score=value) for index, value in enumerate(values))


def test_an_answer_without_sentences_has_no_score_and_its_pair_no_margin() -> None:
    empty = scored(fine("", 0), [], [])
    assert empty.score is None
    assert margin(empty, fine("a cup", 0.5)) is None


@pytest.mark.parametrize(
    ("scores", "chosen", "rejected"),
    [((0.6, 0.2), "a cup", "a dog"), ((0.2, 0.6), "a dog", "a cup"), ((0.2, 0.21), None, None)],
)
def test_chosen_and_rejected_follow_the_verdict(
    scores: tuple[float, float], chosen: str | None, rejected: str | None
) -> None:
    pair = a_finished_pair(fine("a cup", scores[0]), fine("a dog", scores[1]))
    assert (pair.chosen, pair.rejected) == (chosen, rejected)
    assert pair.margin == scores[0] - scores[1]


def test_a_pair_says_by_whom_it_was_verified_and_where_its_time_went() -> None:
    pair = a_finished_pair(fine("a cup", 0.6), fine("a dog", 0.2))
    assert pair.verifier == Verifier(model="tiny-clip", scorer="sentence")
    assert pair.versions == {"judgefree": "0", "torch": "2"}
    assert pair.timings is not None
    assert pair.timings.model_dump() == pytest.approx(
        {"queue_s": 1, "generate_s": 2, "verify_queue_s": 4, "verify_s": 8, "total_s": 15}
    )


def test_clocks_that_differ_give_no_negative_time() -> None:
    job = a_job(created_at=now() + timedelta(hours=1))
    spent = time_spent(a_candidate(job), now(), now())
    assert min(spent.model_dump().values()) == 0


def a_finished_pair(normal: Answer, injected: Answer) -> Pair:
    began = now()
    at = [began + timedelta(seconds=seconds) for seconds in (0, 1, 3, 7, 15)]
    candidate = a_candidate(a_job(created_at=at[0]), generation_started_at=at[1], generated_at=at[2])
    by = Provenance(Verifier(model="tiny-clip", scorer="sentence"), {"torch": "2"})
    ruling = rule(normal, injected, 0.03)
    answers = Answers(normal=normal, injected=injected)
    return finished(candidate, answers, ruling, by, time_spent(candidate, at[3], at[4]))
