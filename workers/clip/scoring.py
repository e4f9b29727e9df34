"""Scores from embeddings (METHOD, section 2; arXiv 2411.17760); pure."""

from collections.abc import Sequence
from statistics import fmean

import numpy as np
from numpy.typing import NDArray

from pairs.model import Answer, RawAnswer, SentenceScore

Embeddings = NDArray[np.float32]
"""Rows of unit length: [n, dim] float32."""


def cosines(images: Embeddings, sentences: Embeddings) -> list[float]:
    """The cosine of each sentence with its image, row by row; both [n, dim], the answer has n values in [-1, 1]."""
    products = np.einsum("nd,nd->n", images, sentences, dtype=np.float64)
    return [float(value) for value in np.clip(products, -1.0, 1.0)]


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
