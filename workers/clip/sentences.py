"""From an answer to the sentences that are scored one by one; pure."""

import re
from collections.abc import Callable

from sentencex import segment

_CLAUSE_END = re.compile(r"[,;:)\]–—，；：、](?=\s|\w)")
_WORD_END = re.compile(r"(?=\s)")


def split(text: str, language: str = "en") -> list[str]:
    """The sentences of `text` in order, without the white space around them; every other character is kept.

    A line end also ends a sentence, since models write lists. A piece without any letter ("1.", "-") goes with the
    piece after it, or at the end with the one before. Empty for a text of white space. Boundaries are sentencex's
    for `language` (an ISO 639 code).
    """
    sentences: list[str] = []
    marker = ""
    for line in text.splitlines():
        for piece in filter(None, (part.strip() for part in segment(language, line))):
            joined = f"{marker} {piece}".lstrip()
            if any(character.isalpha() for character in piece):
                sentences.append(joined)
                marker = ""
            else:
                marker = joined
    if marker and sentences:
        sentences[-1] += f" {marker}"
    elif marker:
        sentences.append(marker)
    return sentences


def pieces(sentence: str, fits: Callable[[str], bool]) -> list[str]:
    """`sentence` cut into parts that each satisfy `fits`, in order, without the white space at the cuts.

    Each cut is the end of a clause near the middle, else of a word, else the middle itself. A single character that
    does not fit is left as it is.
    """
    if len(sentence) < 2 or fits(sentence):
        return [sentence]
    cut = _cut(sentence)
    return [*pieces(sentence[:cut].rstrip(), fits), *pieces(sentence[cut:].lstrip(), fits)]


def _cut(sentence: str) -> int:
    middle = len(sentence) / 2
    clauses = [found.end() for found in _CLAUSE_END.finditer(sentence)]
    words = [found.start() for found in _WORD_END.finditer(sentence)]
    near = [at for at in clauses if 0.5 <= at / middle <= 1.5]
    inner = near or [at for at in words if 0 < at < len(sentence)] or [int(middle)]
    return min(inner, key=lambda at: abs(at - middle))
