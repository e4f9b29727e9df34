"""Scores from embeddings (METHOD, section 2; arXiv 2411.17760, 2502.20034); pure."""

from collections.abc import Sequence
from statistics import fmean

import numpy as np
from numpy.typing import NDArray

from pairs.model import Answer, RawAnswer, SentenceScore

Embeddings = NDArray[np.float32]
"""Rows of unit length: [n, dim] float32."""


def cosines(images: Embeddings, texts: Embeddings) -> list[float]:
    """The cosine of each text with its image, row by row; both [n, dim], the answer has n values in [-1, 1]."""
    products = np.einsum("nd,nd->n", images, texts, dtype=np.float64)
    return [float(value) for value in np.clip(products, -1.0, 1.0)]


def sentence_score(cosines: Sequence[float]) -> float:
    """A sentence's score from its own cosine and those of its phrases, if any: their mean.

    With phrases it is the F-CLIPScore of arXiv 2502.20034, (CLIPScore(sentence) + sum of CLIPScore(phrase)) / (N + 1).
    Ours: whole noun phrases where the paper's code takes single nouns, since "ring" alone is true of every ring and "a
    red ring" is not; and the cosine as it is, where CLIPScore has none below zero, since an encoder may spread its
    cosines over both signs.
    """
    return fmean(cosines)


def scored(answer: RawAnswer, sentences: Sequence[str], scores: Sequence[float]) -> Answer:
    """The answer with its sentences' scores and their mean; without sentences it has no score."""
    return Answer(
        text=answer.text,
        finish_reason=answer.finish_reason,
        score=fmean(scores) if scores else None,
        sentences=tuple(SentenceScore(text=text, score=score) for text, score in zip(sentences, scores, strict=True)),
    )


def margin(normal: Answer, injected: Answer) -> float | None:
    """score(normal) - score(injected); None unless both were scored."""
    if normal.score is None or injected.score is None:
        return None
    return normal.score - injected.score
