"""Scores the answers of a batch, sentence by sentence, in one text pass over its distinct sentences and phrases."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Literal

import numpy as np
from torch import Tensor

from pairs.model import Answers, Candidate
from workers.clip.encoder import Encoder
from workers.clip.images import ImageEmbedding, Images
from workers.clip.phrases import noun_phrases
from workers.clip.scoring import cosines, scored, sentence_score
from workers.clip.sentences import pieces, split
from workers.clip.texts import Texts

Loaded = Tensor | ImageEmbedding
"""An image ready to be scored against: its pixels, or its embedding where that is known."""

ScorerName = Literal["sentence", "phrase"]
_PHRASES_OF: dict[ScorerName, Callable[[str], tuple[str, ...]]] = {
    "sentence": lambda sentence: (),
    "phrase": noun_phrases,
}


class Scorer:
    """The mean of an answer's sentence scores (METHOD, section 2): `sentence` takes a sentence's own cosine, `phrase`
    its F-CLIPScore. `load` may overlap `score`; one `score` at a time.
    """

    def __init__(
        self, encoder: Encoder, images: Images, name: ScorerName = "sentence", texts_remembered: int = 8192
    ) -> None:
        self.name = name
        self._phrases_of = _PHRASES_OF[name]
        self._texts = Texts(encoder, texts_remembered)
        self._images = images

    async def load(self, sha256: str) -> Loaded:
        """The image, decoded. Raises NotAnImage, and whatever the image store raises when it is away."""
        return await self._images.load(sha256)

    def recall(self, loaded: Mapping[str, Loaded]) -> dict[str, Loaded]:
        """The images as they are best scored against now: by their embedding where it has become known."""
        return self._images.recall(loaded)

    def score(self, candidates: Sequence[Candidate], loaded: Mapping[str, Loaded]) -> list[Answers]:
        """The scored answers of each candidate; `loaded` holds each candidate's image by SHA-256.

        Every answer that has text is scored, whatever will be decided of its pair. Raises ArithmeticError where the
        encoder gave no finite embedding, RuntimeError where it failed.
        """
        wanted = {candidate.job.image.sha256 for candidate in candidates}
        embedded = self._images.embed({sha256: image for sha256, image in loaded.items() if sha256 in wanted})
        answers = [(candidate, raw) for candidate in candidates for raw in (candidate.normal, candidate.injected)]
        parts = _parts(self._texts, dict.fromkeys(raw.text for _, raw in answers))
        together = {part: (part, *self._phrases_of(part)) for found in parts.values() for part in found}
        asked = [(embedded[one.job.image.sha256], together[part]) for one, raw in answers for part in parts[raw.text]]
        values = iter(_sentence_scores(self._texts, asked))
        done = [scored(raw, parts[raw.text], [next(values) for _ in parts[raw.text]]) for _, raw in answers]
        self._images.remember(embedded)
        return [Answers(normal=one, injected=other) for one, other in zip(done[::2], done[1::2], strict=True)]


def _parts(known: Texts, texts: Iterable[str]) -> dict[str, list[str]]:
    """What is scored of each text: its sentences, those too long for the text context in pieces that fit."""
    sentences = {text: split(text) for text in texts}
    distinct = list(dict.fromkeys(one for found in sentences.values() for one in found))
    cut = {
        one: [one] if is_whole else pieces(one, lambda part: known.fits([part])[0])
        for one, is_whole in zip(distinct, known.fits(distinct), strict=True)
    }
    return {text: [part for one in found for part in cut[one]] for text, found in sentences.items()}


def _sentence_scores(known: Texts, asked: Sequence[tuple[ImageEmbedding, tuple[str, ...]]]) -> list[float]:
    """The score of each sentence, which comes with its phrases, beside its image."""
    if not asked:
        return []
    texts = [text for _, together in asked for text in together]
    beside = [image for image, together in asked for _ in together]
    order = {text: row for row, text in enumerate(dict.fromkeys(texts))}
    values = cosines(np.stack(beside), known.embed(list(order))[[order[text] for text in texts]])
    if not np.isfinite(values).all():
        raise ArithmeticError("the encoder gave an embedding that is not finite")
    left = iter(values)
    return [sentence_score([next(left) for _ in together]) for _, together in asked]
