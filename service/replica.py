"""One vLLM replica as this gateway sees it. Is it there? Its watcher asks; all others go by what that one knows."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

import structlog

from pairs.background import Background
from pairs.errors import ModelUnavailable
from pairs.places import Place
from pairs.settings import Settings
from service.adapters import Loader, Shelf
from service.choice import Form
from service.mllm import Mllm, Served

_PERIOD_S = 1.0
_SLOW_PROBES_ALLOWED = 3
"""A busy model may miss a probe; a lost connection in mid-job is known at once (`lost`)."""

_log = structlog.get_logger(__name__)


class Replica(Background):
    """What the replica at `place` serves, as of a moment ago, and how many pairs and questions are in work there.

    What it says that it serves has to pass `vet`, which raises ModelUnavailable; `changed` is called whenever it came,
    went, or serves something else.
    """

    def __init__(
        self,
        place: Place,
        settings: Settings,
        shelf: Shelf,
        vet: Callable[["Replica", Served], Awaitable[None]],
        changed: Callable[[], None],
    ) -> None:
        self.name = str(place)
        self.mllm = Mllm.connect(settings, place)
        self.loader = Loader(self.mllm, shelf)
        self.in_work = self.in_asking = 0
        self.form = Form()
        self.is_leaving = False
        self.reason = "The model is not ready yet; try again shortly."
        self.found: Served | None = None
        self._vet, self._changed = vet, changed
        self._look = asyncio.Event()
        self._missed = 0

    async def __aexit__(self, *_: object) -> None:
        await super().__aexit__()
        await self.loader.close()
        await self.mllm.close()

    @property
    def is_idle(self) -> bool:
        return self.in_work == 0 and self.in_asking == 0

    def served(self) -> Served:
        """What is served; raises ModelUnavailable while the replica is away."""
        if self.found is None:
            raise ModelUnavailable(self.reason)
        return self.found

    def lost(self, error: ModelUnavailable) -> None:
        """A request found the replica away: it counts as away until a probe finds it well."""
        self._set_away(error)
        self._look.set()

    async def look(self) -> bool:
        """Ask the replica now: is it there?"""
        await self._probe()
        return self.found is not None and self._missed == 0

    async def _run(self) -> None:
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._look.wait(), _PERIOD_S)
                await asyncio.sleep(_PERIOD_S / 4)  # a replica that just fell needs a moment to be seen as fallen
            self._look.clear()
            await self._probe()

    async def _probe(self) -> None:
        try:
            found = await self.mllm.served()
            await self._vet(self, found)
        except ModelUnavailable as error:
            self._missed += 1
            if self._missed >= _SLOW_PROBES_ALLOWED or self.found is None:
                self._set_away(error)
            return
        self._missed = 0
        if found != self.found:
            adapters = sorted(found.adapters)
            _log.info(
                "model is there", replica=self.name, model=found.policy.model, adapters=adapters, vllm=found.version
            )
            self.found = found
            self._changed()

    def _set_away(self, error: ModelUnavailable) -> None:
        self.reason = error.detail
        if self.found is not None:
            _log.warning("model is away", replica=self.name, cause=repr(error.__cause__))
            self.found = None
            self._changed()
