"""Noun phrases as people would mark them in captions; on any other text, nothing breaks."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from demo.captions import caption, mentioned_objects, sentences_of
from demo.scenes import draw_scenes
from workers.clip.phrases import noun_phrases

WORDS = "a the big red dog dogs runs cat's isn't n't ' , . and / & < two Left TOP \x00 \" @ : ; there park’s match very"
TEXTS = st.text() | st.lists(st.sampled_from([*WORDS.split(" "), "\n"]), max_size=25).map(" ".join)


@given(TEXTS)
def test_phrases_stand_in_the_sentence_in_order_and_once(sentence: str) -> None:
    found = noun_phrases(sentence)
    assert len(set(found)) == len(found)
    assert all(phrase and phrase == phrase.strip() for phrase in found)
    rest = sentence
    for phrase in found:
        _, itself, rest = rest.partition(phrase)
        assert itself == phrase


@given(st.text(alphabet=" \t.,;:!?'\"-()", max_size=20))
def test_no_words_no_phrases(sentence: str) -> None:
    assert noun_phrases(sentence) == ()


@pytest.mark.parametrize("sentence", ["", "It is very beautiful.", "Running fast and slowly.", "They are there."])
def test_a_sentence_without_nouns_has_none(sentence: str) -> None:
    assert noun_phrases(sentence) == ()


@pytest.mark.parametrize(
    ("sentence", "phrases"),
    [
        (
            "A man in a red shirt is riding a brown horse next to two dogs.",
            ("A man", "a red shirt", "a brown horse", "two dogs"),
        ),
        ("A large white and blue bus is parked on the street.", ("A large white and blue bus", "the street")),
        (
            "The image features a black cat lying on a car's hood, with a parking meter nearby.",
            ("The image", "a black cat", "a car's hood", "a parking meter"),
        ),
        ("A dog’s ball isn’t there.", ("A dog’s ball",)),
        (
            "The scene takes place in a living room with a couch, a TV, and a coffee table.",
            ("The scene", "place", "a living room", "a couch", "a TV", "a coffee table"),
        ),
        (
            "A bowl of fresh fruit, including apples, bananas and oranges, sits on the kitchen counter.",
            ("A bowl", "fresh fruit", "apples", "bananas", "oranges", "the kitchen counter"),
        ),
        (
            "A parked car and a smiling woman holding a cup of coffee are visible.",
            ("A parked car", "a smiling woman", "a cup", "coffee"),
        ),
        ("A dog runs across the field with a frisbee in its mouth.", ("A dog", "the field", "a frisbee", "its mouth")),
        ("Two young women ride a bike past a stop sign.", ("Two young women", "a bike", "a stop sign")),
        ("A cat sees the dog and the dog sees a bird.", ("A cat", "the dog", "a bird")),
    ],
)
def test_phrases_as_people_mark_them(sentence: str, phrases: tuple[str, ...]) -> None:
    assert noun_phrases(sentence) == phrases


def test_every_object_of_the_demo_worlds_captions_is_a_phrase_of_its_own() -> None:
    rng = np.random.default_rng(7)
    for scene in draw_scenes("in_distribution", 4711, range(200)):
        for sentence in sentences_of(caption(scene.objects, rng)):
            found = [phrase.lower() for phrase in noun_phrases(sentence)]
            assert [f"a {name}" for name in mentioned_objects(sentence)] == [x for x in found if mentioned_objects(x)]
