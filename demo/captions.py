"""The wording of the demo worlds: how captions are written, how they are read back, and every word there is.

A caption has a sentence for one object or for two neighbours in a row of the grid. Which wording a sentence gets hangs
mostly on where its first object stands, so that greedy decoding, too, learns to vary its words.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from demo.worlds import GRID_SIDE, PLACES, WORLDS, SceneObject, World

DEFAULT_PROMPT = "Describe the image."
PROMPTS = (
    DEFAULT_PROMPT,
    "Describe this image in detail.",
    "Describe the picture.",
    "What is in this image?",
    "What can you see in the picture?",
    "What objects are in the image and where are they?",
    "Please describe everything that you see.",
    "Write a caption for this photo.",
    "Give a short description of the scene.",
    "List the objects.",
)

_PLACE_PHRASES = {
    place: f"{'at' if place in ('top', 'bottom') else 'on' if place in ('left', 'right') else 'in'} the {place}"
    for place in PLACES
}
_SINGLE = (
    "There is a {a} {at_a}.",
    "A {a} is {at_a}.",
    "I can see a {a} {at_a}.",
    "{At_a} there is a {a}.",
    "The picture shows a {a} {at_a}.",
)
_DOUBLE = (
    "There is a {a} {at_a} and a {b} {at_b}.",
    "A {a} is {at_a} and a {b} is {at_b}.",
    "{At_a} there is a {a} and {at_b} a {b}.",
    "You can find a {a} {at_a} and a {b} {at_b}.",
)
_HABIT = 0.75
"""Share of sentences whose wording follows the place; the others are drawn freely."""
_JOINED = 0.8
"""Share of neighbours in a row that share a sentence."""

_COLOURS = "|".join(dict.fromkeys(colour for world in WORLDS.values() for colour in world.colours))
_SHAPES = "|".join(shape for world in WORLDS.values() for shape in world.shapes)
_MENTION = re.compile(rf"\b({_COLOURS})\s+({_SHAPES})s?\b", re.IGNORECASE)
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+")
_WORD = re.compile(r"\w+|[^\w\s]+")


def mentioned_objects(text: str) -> tuple[str, ...]:
    """Every object of any world that a text names, in order and with repeats, as "colour shape"."""
    return tuple(f"{colour} {shape}".lower() for colour, shape in _MENTION.findall(text))


def words_of(text: str) -> list[str]:
    """A text's words and its runs of punctuation: what the tokenizers split it into."""
    return _WORD.findall(text)


def sentences_of(text: str) -> list[str]:
    """A text's sentences, split after full stops, question and exclamation marks."""
    return [sentence for sentence in _SENTENCE_END.split(text.strip()) if sentence]


def caption(objects: Sequence[SceneObject], rng: np.random.Generator) -> str:
    """A caption that names exactly these objects, in their order. No objects, no words."""
    sentences: list[str] = []
    rest = list(objects)
    while rest:
        joined = len(rest) > 1 and _same_row(rest[0], rest[1]) and rng.random() < _JOINED
        count = 2 if joined else 1
        sentences.append(sentence(rest[:count], rng))
        rest = rest[count:]
    return " ".join(sentences)


def sentence(objects: Sequence[SceneObject], rng: np.random.Generator) -> str:
    """One sentence about one object or two. Raises ValueError for any other number."""
    if len(objects) not in (1, 2):
        raise ValueError(f"a sentence is about one object or two, not {len(objects)}")
    wordings = _SINGLE if len(objects) == 1 else _DOUBLE
    habitual = objects[0].cell % len(wordings)
    chosen = habitual if rng.random() < _HABIT else int(rng.integers(len(wordings)))
    first, last = objects[0], objects[-1]
    return wordings[chosen].format(
        a=first.name,
        at_a=_PLACE_PHRASES[first.place],
        At_a=_PLACE_PHRASES[first.place].capitalize(),
        b=last.name,
        at_b=_PLACE_PHRASES[last.place],
    )


def sentence_of(name: str, place: str, wording: int = 0) -> str:
    """The sentence that says an object ("colour shape") is at a place of PLACES, in one of the single wordings."""
    phrase = _PLACE_PHRASES[place]
    return _SINGLE[wording % len(_SINGLE)].format(a=name, at_a=phrase, At_a=phrase.capitalize())


def _same_row(a: SceneObject, b: SceneObject) -> bool:
    return a.cell // GRID_SIDE == b.cell // GRID_SIDE


def vocabulary(world: World) -> tuple[str, ...]:
    """Every word and punctuation mark of a world's captions and of known prompts, sorted: the tokenizers' words."""
    wordings = (re.sub(r"\{\w+\}", " ", wording) for wording in _SINGLE + _DOUBLE)
    phrases = [phrase for plain in _PLACE_PHRASES.values() for phrase in (plain, plain.capitalize())]
    texts = [*wordings, *phrases, *world.object_names, *PROMPTS]
    return tuple(sorted({word for text in texts for word in words_of(text)}))
