"""Captions name exactly their objects, in prose, and can be read back."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sentencex import segment

from demo.captions import caption, mentioned_objects, sentence, sentences_of, vocabulary, words_of
from demo.scenes import TEST_SPLITS, Scene, draw_scene

scenes = st.builds(
    draw_scene, st.sampled_from(sorted(TEST_SPLITS)), st.integers(0, 2**32), st.integers(min_value=0, max_value=10_000)
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
    assert set(words_of(caption(scene.objects, np.random.default_rng(seed)))) <= set(vocabulary())


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


def test_a_sentence_is_about_one_object_or_two() -> None:
    with pytest.raises(ValueError, match="one object or two, not 6"):
        sentence(draw_scene("dense", 0, 3).objects[:6], np.random.default_rng(0))
