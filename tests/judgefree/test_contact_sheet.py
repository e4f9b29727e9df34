"""The contact sheet: everything about a pair, in one file that needs no network."""

import re
from base64 import b64encode
from html import unescape

from judgefree.contact_sheet import Entry, Scale, contact_sheet, scale_of
from pairs.model import Answer, Answers, Decision, SentenceScore
from tests.examples import a_pair

PIXELS = b"\x89PNG any bytes"


def sheet(*decisions: Decision) -> str:
    pairs = [a_pair(decision, margin=0.4) for decision in decisions]
    return contact_sheet([Entry(f"scene-{n}.png", PIXELS, pair) for n, pair in enumerate(pairs)], "A <title>")


def test_a_sheet_shows_image_prompt_answers_decision_margin_and_sentence_scores() -> None:
    html = sheet(Decision.KEPT)
    assert f"data:image/png;base64,{b64encode(PIXELS).decode()}" in html
    for text in ("scene-0.png", "Describe the image.", "There is a red ring.", "There is a blue ring.", "+0.400"):
        assert text in html
    assert html.index("There is a red ring.") < html.index("There is a blue ring.")
    assert re.findall(r"--share: (\d+)%", html) == ["100", "0"]


def test_a_swapped_pair_shows_the_injected_answer_as_chosen() -> None:
    html = sheet(Decision.SWAPPED)
    chosen = html[html.index('<section class="chosen">') : html.index('<section class="rejected">')]
    assert "There is a blue ring." in chosen
    assert "injected" in chosen


def test_a_discarded_pair_shows_neither_as_chosen() -> None:
    html = sheet(Decision.DISCARDED)
    assert '<section class="chosen">' not in html
    assert html.count('<section class="neither">') == 2


def test_a_sheet_asks_nothing_of_the_network() -> None:
    html = sheet(*Decision)
    assert not re.search(r"(?i)https?:|//[a-z]|<script|@import|<link|url\(", html)


def test_what_a_model_says_is_text_and_not_markup() -> None:
    said = "<img src=x onerror=alert(1)>"
    answer = Answer(text=said, finish_reason="stop", score=0.1, sentences=(SentenceScore(text=said, score=0.1),))
    pair = a_pair(answers=Answers(normal=answer, injected=answer), prompt=said)
    html = contact_sheet([Entry(f"{said}.png", PIXELS, pair)], said)
    assert said not in html
    assert unescape(html).count(said) >= 4


def test_a_sheet_without_pairs_or_scores_can_be_made() -> None:
    assert "0 pairs" in contact_sheet([], "empty")
    bare = Answer(text="", finish_reason="stop")
    pair = a_pair(Decision.DISCARDED, answers=Answers(normal=bare, injected=bare), margin=None, reason="empty_answer")
    assert "empty answer" in contact_sheet([Entry("x", PIXELS, pair)], "bare")


def test_the_scale_runs_from_the_lowest_to_the_highest_sentence() -> None:
    scale = scale_of([a_pair()])
    assert (scale.low, scale.high) == (0.2, 0.6)
    assert [scale(score) for score in (0.2, 0.4, 0.6)] == [0.0, (0.4 - 0.2) / (0.6 - 0.2), 1.0]
    assert Scale(0.3, 0.3)(0.3) == 0.5


def test_more_pairs_than_are_shown_are_counted_nevertheless() -> None:
    pair = a_pair(Decision.KEPT, margin=0.4)
    html = contact_sheet([Entry(f"scene-{n}.png", PIXELS, pair) for n in range(5)], "A title", most=2)
    assert "5 pairs, 5 kept" in html
    assert "2 of them are here" in html
    assert html.count("data:image/png;base64") == 2
