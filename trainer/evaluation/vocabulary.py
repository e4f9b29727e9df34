"""Which objects a text mentions: words and phrases mapped to objects, in CHAIR's way.

After Rohrbach et al., "Object Hallucination in Image Captioning" (2018): each object has a name and other words for it,
a phrase of several words goes before the words in it ("hot dog" is no dog), and singular and plural are the same.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Self

from trainer.evaluation.errors import UnreadableDataSet

NOTHING = ""
"""The name under which phrases stand that name no object, such as "train track", so that the words in them do not."""

_TOKEN = re.compile(r"\w+|[^\w\s-]")
_IRREGULAR = {
    "man": "men",
    "woman": "women",
    "person": "people",
    "child": "children",
    "mouse": "mice",
    "goose": "geese",
    "foot": "feet",
    "tooth": "teeth",
    "ox": "oxen",
    "calf": "calves",
    "loaf": "loaves",
    "leaf": "leaves",
    "shelf": "shelves",
    "wolf": "wolves",
    "scarf": "scarves",
    "fish": "fish",
    "sheep": "sheep",
    "deer": "deer",
}
"""Plurals that no rule makes; of a word that ends with one of these ("policeman"), too."""

_Phrase = tuple[str, ...]


@dataclass(frozen=True)
class Mention:
    """An object that a text mentions, and where: `text[start:end]`."""

    object: str
    start: int
    end: int


@dataclass(frozen=True)
class ObjectVocabulary:
    """Objects by name, each with its other words and phrases; its name is always one of them.

    The plurals of all are known too. Phrases under NOTHING name no object. Raises UnreadableDataSet where one phrase
    stands under two names, or a phrase has no word in it.
    """

    phrases: Mapping[str, tuple[str, ...]]

    def __post_init__(self) -> None:
        for name in self.names:
            _words(name)
        _ = self._names_of  # refuses at once what cannot be told apart

    @classmethod
    def of_names(cls, names: Iterable[str]) -> Self:
        """The vocabulary in which each object has its name only."""
        return cls(dict.fromkeys(sorted(set(names)), ()))

    @property
    def names(self) -> frozenset[str]:
        """All objects."""
        return frozenset(self.phrases) - {NOTHING}

    def mentions(self, text: str) -> tuple[str, ...]:
        """Every object that a text mentions, in order and with repeats.

        Read from left to right, the longest phrase first; case does not matter, and a hyphen is a space.
        """
        return tuple(mention.object for mention in self.found_in(text))

    def found_in(self, text: str) -> tuple[Mention, ...]:
        """The same mentions, each with its place in the text."""
        return tuple(mention for mention in self._scan(text) if mention.object != NOTHING)

    def _scan(self, text: str) -> Iterator[Mention]:
        tokens = list(_TOKEN.finditer(text))
        words = [token.group().casefold() for token in tokens]
        start = 0
        while start < len(words):
            longest = min(self._longest, len(words) - start)
            spans = (tuple(words[start : start + size]) for size in range(longest, 0, -1))
            found = next((span for span in spans if span in self._names_of), None)
            if found is not None:
                yield Mention(self._names_of[found], tokens[start].start(), tokens[start + len(found) - 1].end())
            start += len(found) if found else 1

    @cached_property
    def _longest(self) -> int:
        return max(map(len, self._names_of), default=0)

    @cached_property
    def _names_of(self) -> dict[_Phrase, str]:
        """The object of each phrase; what is written stands above a plural made by rule that happens to be the same."""
        written: dict[_Phrase, str] = {}
        for name, others in self.phrases.items():
            for phrase in (*((name,) if name != NOTHING else ()), *others):
                if written.setdefault(words := _words(phrase), name) != name:
                    raise UnreadableDataSet(f"{phrase!r} stands for two objects, {written[words]!r} and {name!r}.")
        plurals = {plural: name for words, name in reversed(written.items()) for plural in _plurals(words)}
        return plurals | written


def read_vocabulary(file: Path) -> ObjectVocabulary:
    """The vocabulary in a JSON file {name: [other words and phrases, ...]}; "" may list phrases that name nothing.

    Raises UnreadableDataSet where it cannot be read or is of another form.
    """
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise UnreadableDataSet(f"{file} cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise UnreadableDataSet(f"{file} is not JSON: {error}.") from error
    if not isinstance(found, dict) or not all(_is_list_of_text(others) for others in found.values()):
        raise UnreadableDataSet(f"{file} is no vocabulary: it must be an object of lists of words, {{name: [words]}}.")
    return ObjectVocabulary({name: tuple(others) for name, others in found.items()})


def _is_list_of_text(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) for one in value)


def _words(phrase: str) -> _Phrase:
    words = tuple(word.casefold() for word in _TOKEN.findall(phrase))
    if not words:
        raise UnreadableDataSet(f"{phrase!r} cannot name an object: it has no word in it.")
    return words


def _plurals(words: _Phrase) -> Iterator[_Phrase]:
    for plural in _plurals_of(words[-1]):
        yield (*words[:-1], plural)


def _plurals_of(word: str) -> Iterator[str]:
    """The plurals a word may have: more than one where the rule depends on the word (heroes, pianos)."""
    for singular, plural in _IRREGULAR.items():
        if word.endswith(singular):
            yield word.removesuffix(singular) + plural
    if re.search(r"[^aeiou]y$", word):
        yield word[:-1] + "ies"
    elif re.search(r"(s|x|z|ch|sh|[^aeiou]o)$", word):
        yield word + "es"
    if re.search(r"[lni]fe$", word):  # shelf is irregular: most words in -f only take an s
        yield word[:-2] + "ves"
    if not re.search(r"(s|x|z|ch|sh)$", word):
        yield word + "s"
