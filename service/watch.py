"""Is the model there? One watcher asks; admission, readiness and the pairer go by what it knows."""

import asyncio
from contextlib import suppress
from typing import Self

import structlog

from pairs.background import Background
from pairs.errors import ModelUnavailable
from service.adapters import Shelf
from service.mllm import Mllm, Served

_PERIOD_S = 1.0
_SLOW_PROBES_ALLOWED = 3
"""A busy model may miss a probe; a lost connection in mid-job is known at once (`lost`)."""

_log = structlog.get_logger(__name__)


class ModelWatch(Background):
    """What the replica serves, as of a moment ago."""

    def __init__(self, mllm: Mllm, shelf: Shelf) -> None:
        self._mllm = mllm
        self._shelf = shelf
        self._served: Served | None = None
        self._there = asyncio.Event()
        self._look = asyncio.Event()
        self._reason = "The model is not ready yet; try again shortly."
        self._missed = 0

    async def __aenter__(self) -> Self:
        await self._probe()
        return await super().__aenter__()

    @property
    def is_there(self) -> bool:
        return self._served is not None

    def served(self) -> Served:
        """What is served; raises ModelUnavailable while the model is away."""
        if self._served is None:
            raise ModelUnavailable(self._reason)
        return self._served

    async def wait(self, timeout_s: float) -> bool:
        """Wait until the model is there; False after `timeout_s`."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._there.wait(), timeout_s)
        return self.is_there

    def lost(self, error: ModelUnavailable) -> None:
        """A request found the model away: it counts as away until a probe finds it well."""
        self._set_away(error)
        self._look.set()

    async def look(self) -> bool:
        """Ask the replica now: is it there?"""
        await self._probe()
        return self.is_there and self._missed == 0

    async def _run(self) -> None:
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._look.wait(), _PERIOD_S)
                await asyncio.sleep(_PERIOD_S / 4)  # a replica that just fell needs a moment to be seen as fallen
            self._look.clear()
            await self._probe()

    async def _probe(self) -> None:
        try:
            found = await self._mllm.served()
            await self._shelf.refresh(found)
        except ModelUnavailable as error:
            self._missed += 1
            if self._missed >= _SLOW_PROBES_ALLOWED or self._served is None:
                self._set_away(error)
            return
        self._missed = 0
        if found != self._served:
            _log.info("model is there", model=found.policy.model, adapters=sorted(found.adapters), vllm=found.version)
        self._served = found
        self._there.set()

    def _set_away(self, error: ModelUnavailable) -> None:
        if self._served is not None:
            _log.warning("model is away", cause=repr(error.__cause__))
        self._served = None
        self._there.clear()
        self._reason = error.detail
