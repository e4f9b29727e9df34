"""Captions name exactly their objects, in prose, and can be read back."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sentencex import segment

from demo.captions import PROMPTS, caption, mentioned_objects, sentence, sentences_of, vocabulary, words_of
from demo.scenes import TEST_SPLITS, Scene, draw_scene
from demo.worlds import PLACES, WORLDS

scenes = st.builds(
    draw_scene,
    st.sampled_from(sorted(TEST_SPLITS)),
    st.integers(0, 2**32),
    st.integers(min_value=0, max_value=10_000),
    st.sampled_from(list(WORLDS.values())),
)
seeds = st.integers(0, 2**32)


@settings(max_examples=200)
@given(scene=scenes, seed=seeds)
def test_a_caption_parses_back_to_exactly_its_objects(scene: Scene, seed: int) -> None:
    text = caption(scene.objects, np.random.default_rng(seed))

    assert mentioned_objects(text) == tuple(thing.name for thing in scene.objects)


@settings(max_examples=100)
@given(scene=scenes, seed=seeds)
def test_sentences_begin_with_a_capital_end_with_a_stop_and_hold_one_object_or_two(scene: Scene, seed: int) -> None:
    text = caption(scene.objects, np.random.default_rng(seed))
    sentences = sentences_of(text)

    assert sentences == [part.strip() for part in segment("en", text) if part.strip()]
    assert all(part[0].isupper() and part.endswith(".") and " ." not in part for part in sentences)
    assert all(len(mentioned_objects(part)) in (1, 2) for part in sentences)


@settings(max_examples=100)
@given(scene=scenes, seed=seeds)
def test_the_vocabulary_holds_every_word_of_every_caption(scene: Scene, seed: int) -> None:
    assert set(words_of(caption(scene.objects, np.random.default_rng(seed)))) <= set(vocabulary(scene.world))


def test_wording_varies() -> None:
    rng = np.random.default_rng(0)
    openings = {
        " ".join(part.split()[:2])
        for index in range(200)
        for part in sentences_of(caption(draw_scene("in_distribution", 1, index).objects, rng))
    }

    assert len(openings) >= 8


def test_mentions_are_found_in_other_prose_with_repeats() -> None:
    text = "Two Red  rings, a blue thing, a ring; and a yellow CROSS. Again a red ring, no greenish disc."

    assert mentioned_objects(text) == ("red ring", "yellow cross", "red ring")


def test_no_object_is_named_by_a_word_of_a_place_or_of_a_prompt() -> None:
    said = {word.lower() for text in (*PLACES, *PROMPTS) for word in words_of(text)}

    assert not said & {word for world in WORLDS.values() for word in (*world.colours, *world.shapes)}


def test_objects_of_every_world_are_found_in_one_text() -> None:
    assert mentioned_objects("One red one beside a blue ring, not a blue one.") == ("red one", "blue ring", "blue one")


def test_a_sentence_is_about_one_object_or_two() -> None:
    with pytest.raises(ValueError, match="one object or two, not 6"):
        sentence(draw_scene("dense", 0, 3).objects[:6], np.random.default_rng(0))
