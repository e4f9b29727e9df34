"""The noun phrases of a sentence: what F-CLIPScore scores beside it; pure.

The words are tagged by TextBlob, whose lexicon (Brill's, of the Brown corpus and the Penn Treebank) and context rules
lie in its package: nothing is downloaded, and no corpus of nltk is read. The grammar over the tags is ours.
"""

import re
from functools import lru_cache

from textblob.en import lexicon, parser

_TOKEN = re.compile(r"\w+(?=n['’]t\b)|n['’]t\b|(?<=\w)['’](?:s|re|ve|ll|d|m)\b|\w+(?:-\w+)*|[^\w\s]")
"""A word, its `n't` or `'s` apart as the Penn Treebank has them, or one other character."""
_KINDS = {
    "D": ("DT", "PDT", "PRP$"),
    "A": ("JJ", "JJR", "JJS", "CD"),
    "R": ("RB",),
    "V": ("VB", "VBG", "VBN"),
    "N": ("NN", "NNS", "NNP", "NNPS"),
    "S": ("POS",),
    "C": ("CC", ","),
}
_KIND_OF = {tag: kind for kind, tags in _KINDS.items() for tag in tags}
_OTHER = "O"
_PHRASE = re.compile(
    r"""
    (?: D [RAV]* (?:CA)* [AV]* N+     # a large white and blue bus; a parked car; the living room
      | (?: A (?:C?A)* )? N+          # two young women; fresh fruit; apples
    ) (?: S [AV]* N+ )*               # a car's hood
    | D [RAV]* [AV]                   # the top left; a match: what the tagger takes for another kind of word
    """,
    re.VERBOSE,
)
"""Over one letter a token. A determiner begins a phrase anew, so nothing may stand before it."""


@lru_cache(maxsize=1 << 16)
def noun_phrases(sentence: str) -> tuple[str, ...]:
    """The distinct noun phrases of an English sentence, as they stand in it and in their order; none overlap.

    A phrase reaches from its determiner to its noun, with adjectives, numbers and possessors: "a red ring", "two young
    women", "a car's hood". Pronouns are none. Where the tagger finds no noun after a determiner, what follows it is
    taken for one ("the left"), since English has nothing else there.
    """
    tokens = list(_TOKEN.finditer(sentence))
    tagged = lexicon.context.apply(parser.find_tags([token.group().replace("’", "'") for token in tokens]))
    kinds = "".join(_KIND_OF.get(tag, _OTHER) for _, tag in tagged)
    spans = ((tokens[found.start()].start(), tokens[found.end() - 1].end()) for found in _PHRASE.finditer(kinds))
    return tuple(dict.fromkeys(sentence[start:end] for start, end in spans))
