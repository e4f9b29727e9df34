"""The images of a batch: fetched and decoded beside the encoder's work, and remembered once they are embedded."""

import asyncio
from collections import OrderedDict
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from pairs.blobs import Blobs
from pairs.errors import NotAnImage
from workers.clip.encoder import Encoder

ImageEmbedding = NDArray[np.float32]
"""[dim] float32, of unit length."""


class Images:
    """Embeddings of images by SHA-256; the last `capacity` of them are remembered over batches."""

    def __init__(self, blobs: Blobs, encoder: Encoder, capacity: int = 4096) -> None:
        self._blobs = blobs
        self._encoder = encoder
        self._capacity = capacity
        self._known: OrderedDict[str, ImageEmbedding] = OrderedDict()

    async def load(self, sha256: str) -> Tensor | ImageEmbedding:
        """The image's embedding if it is known, else its pixels.

        Raises NotAnImage when the image is missing or broken, and whatever the image store raises when it is away.
        """
        if sha256 in self._known:
            self._known.move_to_end(sha256)
            return self._known[sha256]
        try:
            content = await self._blobs.get(sha256)
        except FileNotFoundError as error:
            raise NotAnImage(f"Image {sha256} is missing from the image store.") from error
        return await asyncio.to_thread(self._encoder.pixels, content)

    def recall(self, loaded: Mapping[str, Tensor | ImageEmbedding]) -> dict[str, Tensor | ImageEmbedding]:
        """The same images, each by its embedding where that is known by now."""
        return {sha256: self._known.get(sha256, image) for sha256, image in loaded.items()}

    def embed(self, loaded: Mapping[str, Tensor | ImageEmbedding]) -> dict[str, ImageEmbedding]:
        """The embedding of each image, those that are still pixels in one pass of the image tower."""
        found = {sha256: image for sha256, image in loaded.items() if not isinstance(image, Tensor)}
        fresh = {sha256: image for sha256, image in loaded.items() if isinstance(image, Tensor)}
        rows = self._encoder.embed_images(list(fresh.values()))
        new = dict(zip(fresh, rows, strict=True)) if fresh else {}
        return found | new

    def remember(self, embedded: Mapping[str, ImageEmbedding]) -> None:
        self._known.update(embedded)
        while len(self._known) > self._capacity:
            self._known.popitem(last=False)
