"""Does a request fit the model's context? The model counts; what it counted is remembered for all replicas."""

import hashlib
from collections import OrderedDict

from pairs.errors import InvalidField, PromptTooLong
from service.mllm import Mllm, Served
from service.replica import Replica

_COUNTS_KEPT = 4096
_SHORTEST = "."  # a chat template may refuse an empty text


class Fitting:
    """The tokens of prompts with images, by model, prompt and the image's size."""

    def __init__(self) -> None:
        self._counts: OrderedDict[tuple[str, bytes, int, int], int] = OrderedDict()

    async def check(
        self, served: Served, prompt: str, png: bytes, size: tuple[int, int], max_tokens: int, replica: Replica
    ) -> None:
        """Raise PromptTooLong, or InvalidField for `max_tokens`, if prompt, image and answer exceed the context.

        `size` is the image's, in pixels; `replica` counts what is not known yet. A token is at least a byte, so a
        prompt may fit for sure by what is known of a shorter one.
        """
        bare = await self._count(replica.mllm, served, _SHORTEST, png, size)
        if bare + len(prompt.encode()) + max_tokens <= served.max_model_len:
            return
        count = await self._count(replica.mllm, served, prompt, png, size)
        room = served.max_model_len - count
        if room < 1:
            raise PromptTooLong(
                f"prompt: with the image it takes {count} tokens; the model's context has {served.max_model_len}."
            )
        if max_tokens > room:
            raise InvalidField(
                f"max_tokens: {max_tokens} is too many; prompt and image leave {room} tokens of the context."
            )

    async def _count(self, mllm: Mllm, served: Served, prompt: str, png: bytes, size: tuple[int, int]) -> int:
        key = (served.name, hashlib.sha256(prompt.encode()).digest(), *size)
        if key not in self._counts:
            self._counts[key] = await mllm.count_tokens(served.name, prompt, png)
            if len(self._counts) > _COUNTS_KEPT:
                self._counts.popitem(last=False)
        self._counts.move_to_end(key)
        return self._counts[key]
