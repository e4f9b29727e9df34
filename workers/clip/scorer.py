"""Scores the answers of a batch, sentence by sentence, in one text pass over its distinct sentences."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from torch import Tensor

from pairs.model import Answers, Candidate, RawAnswer
from workers.clip.encoder import Encoder
from workers.clip.images import ImageEmbedding, Images
from workers.clip.scoring import cosines, scored
from workers.clip.sentences import pieces, split

Loaded = Tensor | ImageEmbedding
"""An image ready to be scored against: its pixels, or its embedding where that is known."""


class Scorer:
    """Mean sentence cosine (METHOD, section 2). `load` may overlap `score`; one `score` at a time."""

    name = "sentence"

    def __init__(self, encoder: Encoder, images: Images) -> None:
        self._encoder = encoder
        self._images = images

    async def load(self, sha256: str) -> Loaded:
        """The image, decoded. Raises NotAnImage, and whatever the image store raises when it is away."""
        return await self._images.load(sha256)

    def score(self, candidates: Sequence[Candidate], loaded: Mapping[str, Loaded]) -> list[Answers]:
        """The scored answers of each candidate; `loaded` holds each candidate's image by SHA-256.

        Every answer that has text is scored, whatever will be decided of its pair. Raises ArithmeticError where the
        encoder gave no finite embedding, RuntimeError where it failed.
        """
        wanted = {candidate.job.image.sha256 for candidate in candidates}
        embedded = self._images.embed({sha256: image for sha256, image in loaded.items() if sha256 in wanted})
        answers = [(candidate, raw) for candidate in candidates for raw in (candidate.normal, candidate.injected)]
        parts = _parts(self._encoder, dict.fromkeys(raw.text for _, raw in answers))
        values = iter(_values(self._encoder, answers, parts, embedded))
        done = [scored(raw, parts[raw.text], [next(values) for _ in parts[raw.text]]) for _, raw in answers]
        self._images.remember(embedded)
        return [Answers(normal=one, injected=other) for one, other in zip(done[::2], done[1::2], strict=True)]


def _parts(encoder: Encoder, texts: Iterable[str]) -> dict[str, list[str]]:
    """What is scored of each text: its sentences, those too long for the text context in pieces that fit."""
    sentences = {text: split(text) for text in texts}
    distinct = list(dict.fromkeys(one for found in sentences.values() for one in found))
    cut = {
        one: [one] if is_whole else pieces(one, lambda part: encoder.fits([part])[0])
        for one, is_whole in zip(distinct, encoder.fits(distinct), strict=True)
    }
    return {text: [part for one in found for part in cut[one]] for text, found in sentences.items()}


def _values(
    encoder: Encoder,
    answers: Sequence[tuple[Candidate, RawAnswer]],
    parts: Mapping[str, list[str]],
    images: Mapping[str, ImageEmbedding],
) -> list[float]:
    """The cosine of every part with its image, in the order of `answers` and of their parts."""
    order = {part: row for row, part in enumerate(dict.fromkeys(part for found in parts.values() for part in found))}
    rows = [order[part] for _, raw in answers for part in parts[raw.text]]
    if not rows:
        return []
    beside = [images[candidate.job.image.sha256] for candidate, raw in answers for _ in parts[raw.text]]
    values = cosines(np.stack(beside), encoder.embed_sentences(list(order))[rows])
    if not np.isfinite(values).all():
        raise ArithmeticError("the encoder gave an embedding that is not finite")
    return values
