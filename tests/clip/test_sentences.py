"""Splitting an answer into sentences loses nothing and keeps what people write."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.clip.sentences import pieces, split

TEXTS = st.text() | st.lists(
    st.sampled_from(["A red cup.", "Dr. Wu", "3.5", "1.", "-", "\n", "  ", "!", "...", "and", "left;", "«", "。"]),
    max_size=20,
).map(" ".join)


def visible(text: str) -> str:
    return "".join(text.split())


@given(TEXTS)
def test_nothing_but_white_space_is_lost(text: str) -> None:
    assert visible("".join(split(text))) == visible(text)


@given(TEXTS)
def test_sentences_are_not_empty_and_not_padded(text: str) -> None:
    assert all(sentence and sentence == sentence.strip() for sentence in split(text))


@given(TEXTS)
def test_a_piece_without_letters_stands_alone_only_where_there_are_no_letters_at_all(text: str) -> None:
    found = split(text)
    if any(character.isalpha() for character in text):
        assert all(any(character.isalpha() for character in sentence) for sentence in found)
    else:
        assert len(found) <= 1


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("There is a cup . A dog sits.", ["There is a cup .", "A dog sits."]),
        ("Dr. Wu has 3.5 cups! Ok", ["Dr. Wu has 3.5 cups!", "Ok"]),
        ("1. A cup.\n2. A dog.", ["1. A cup.", "2. A dog."]),
        ("- a cup\n\n- a dog", ["- a cup", "- a dog"]),
        ("这是一只猫。那是狗。", ["这是一只猫。", "那是狗。"]),
        ("A cup. !", ["A cup. !"]),
        (" \n\t", []),
        ("42.", ["42."]),
    ],
)
def test_sentences_as_people_write_them(text: str, sentences: list[str]) -> None:
    assert split(text) == sentences


@given(st.text(min_size=1).map(str.strip).filter(bool), st.integers(1, 40))
def test_pieces_fit_and_lose_nothing(sentence: str, most: int) -> None:
    found = pieces(sentence, lambda part: len(part) <= most)
    assert all(1 <= len(part) <= most for part in found)
    assert visible("".join(found)) == visible(sentence)


def test_what_fits_is_left_whole() -> None:
    assert pieces("a cup, a dog and a ring", lambda part: True) == ["a cup, a dog and a ring"]


def test_a_cut_falls_on_a_clause_near_the_middle_else_on_a_word() -> None:
    assert pieces("there is a red cup, and a dog sits", lambda part: len(part) < 30) == [
        "there is a red cup,",
        "and a dog sits",
    ]
    assert pieces("there is a red cup and a dog sits", lambda part: len(part) < 30) == [
        "there is a red cup",
        "and a dog sits",
    ]
