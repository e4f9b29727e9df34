"""The texts of a batch: embedded in one pass, and remembered. All pairs of an image share the answer that is not drawn
from a ratio, and a model says many of its sentences more than once.
"""

from collections import OrderedDict
from collections.abc import Sequence

import numpy as np

from workers.clip.encoder import Encoder
from workers.clip.scoring import Embeddings


class Texts:
    """Embeddings of texts that fit the text context; the last `capacity` of them are remembered over batches."""

    def __init__(self, encoder: Encoder, capacity: int) -> None:
        self._encoder = encoder
        self._capacity = capacity
        self._known: OrderedDict[str, Embeddings] = OrderedDict()

    def fits(self, texts: Sequence[str]) -> list[bool]:
        """Whether each text fits the text context whole."""
        asked = [text for text in texts if text not in self._known]
        found = dict(zip(asked, self._encoder.fits(asked), strict=True))
        return [found.get(text, True) for text in texts]

    def embed(self, texts: Sequence[str]) -> Embeddings:
        """[n, dim] float32, each row of unit length, of n different texts that fit the context.

        Raises ArithmeticError where the encoder gave no finite embedding.
        """
        fresh = [text for text in texts if text not in self._known]
        rows = self._encoder.embed_sentences(fresh)
        if not np.isfinite(rows).all():
            raise ArithmeticError("the encoder gave an embedding that is not finite")
        new = dict(zip(fresh, rows, strict=True)) if fresh else {}
        found = np.stack([new[text] if text in new else self._known[text] for text in texts])
        self._remember(dict(zip(texts, found, strict=True)))
        return found

    def _remember(self, embedded: dict[str, Embeddings]) -> None:
        for text, row in embedded.items():
            self._known[text] = row
            self._known.move_to_end(text)
        while len(self._known) > self._capacity:
            self._known.popitem(last=False)
