"""Mentions: every object that is named is found, as the object whose phrase is the longest, and nothing else."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from demo.captions import caption, mentioned_objects
from demo.scenes import draw_scene
from demo.worlds import SHAPES
from trainer.evaluation.coco import coco_vocabulary
from trainer.evaluation.errors import UnreadableDataSet
from trainer.evaluation.vocabulary import ObjectVocabulary, read_vocabulary

COCO = coco_vocabulary()
NAMES = st.sampled_from(sorted(COCO.names))
PHRASES = st.sampled_from(
    [(name, phrase) for name, others in COCO.phrases.items() if name for phrase in (name, *others)]
)
FILLERS = st.sampled_from([". ", ", and then ", "; ", " -- ", " with some "])


@given(st.lists(st.tuples(PHRASES, FILLERS), max_size=8))
def test_every_phrase_of_the_vocabulary_is_found_in_order(said: list[tuple[tuple[str, str], str]]) -> None:
    text = "".join(phrase + filler for (_, phrase), filler in said)
    assert COCO.mentions(text) == tuple(name for (name, _), _ in said)


@given(st.lists(st.tuples(PHRASES, FILLERS), max_size=8))
def test_each_mention_is_where_its_phrase_stands(said: list[tuple[tuple[str, str], str]]) -> None:
    text = "".join(phrase.title() + filler for (_, phrase), filler in said)
    found = COCO.found_in(text)
    assert [text[mention.start : mention.end].casefold() for mention in found] == [phrase for (_, phrase), _ in said]


@given(st.text())
def test_whatever_the_text_only_objects_are_found(text: str) -> None:
    assert set(COCO.mentions(text)) <= COCO.names


@given(st.text(), st.text())
def test_sentences_do_not_meet_across_their_full_stop(first: str, second: str) -> None:
    assert COCO.mentions(f"{first}. {second}") == COCO.mentions(first) + COCO.mentions(second)


@given(st.lists(NAMES, max_size=5))
def test_case_and_hyphens_do_not_matter(names: list[str]) -> None:
    text = ", ".join(names)
    assert COCO.mentions(text.upper()) == COCO.mentions(text.replace(" ", "-")) == COCO.mentions(text) == tuple(names)


@given(st.integers(0, 500), st.sampled_from(["in_distribution", "theme_breaking", "dense"]))
def test_captions_of_the_demo_world_are_read_as_it_reads_them_itself(index: int, split: str) -> None:
    scene = draw_scene(split, 7, index)
    text = caption(scene.objects, np.random.default_rng(index))
    assert ObjectVocabulary.of_names(SHAPES.object_names).mentions(text) == mentioned_objects(text)


@pytest.mark.parametrize(
    ("text", "objects"),
    [
        ("A hot dog, two hotdogs and a dog.", ["hot dog", "hot dog", "dog"]),
        ("A teddy bear beside a baby bear and a bear cub", ["teddy bear", "bear", "bear"]),
        ("a baby on a toilet seat", ["person", "toilet"]),
        ("people wait on the train tracks at the train station", ["person"]),
        (
            "three knives, mice, oxen, geese, policemen and sandwiches",
            ["knife", "mouse", "cow", "bird", "person", "sandwich"],
        ),
        ("two pairs of scissors; buses, benches, skis, couches", ["scissors", "bus", "bench", "skis", "couch"]),
        ("glasses of wine and wine glasses", ["wine glass", "wine glass"]),
        ("the man's cell-phones", ["person", "cell phone"]),
        ("orange juice, an orange and white cat, an orange", ["cat", "orange"]),
        ("a doghouse with a catalogue, scarred by carpets", []),
        ("A catcher's mitt and a baseball bat.", ["baseball glove", "baseball bat"]),
    ],
)
def test_words_are_mapped_to_cocos_objects_as_chair_does(text: str, objects: list[str]) -> None:
    assert list(COCO.mentions(text)) == objects


def test_coco_has_its_80_categories() -> None:
    assert len(COCO.names) == 80


def test_what_is_written_stands_above_a_plural_made_by_rule() -> None:
    vocabulary = ObjectVocabulary({"ski": (), "pair of boards": ("skis",)})
    assert vocabulary.mentions("a ski, skis") == ("ski", "pair of boards")


def test_a_phrase_of_two_objects_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnreadableDataSet, match="'mug' stands for two objects, 'cup' and 'bowl'"):
        ObjectVocabulary({"cup": ("mug",), "bowl": ("mug",)})


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("{", "not JSON"),
        ("[]", "no vocabulary"),
        ('{"cup": "mug"}', "no vocabulary"),
        ('{"cup": [3]}', "no vocabulary"),
        (json.dumps({"--": []}), "has no word in it|no word"),
    ],
)
def test_a_bad_vocabulary_is_said_in_one_sentence(tmp_path: Path, content: str, complaint: str) -> None:
    file = tmp_path / "objects.json"
    file.write_text(content)
    with pytest.raises(UnreadableDataSet, match=complaint):
        read_vocabulary(file)


def test_a_vocabulary_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(UnreadableDataSet, match="cannot be read"):
        read_vocabulary(tmp_path / "none.json")
