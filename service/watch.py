"""Is the model there? It is while at least one replica is; admission, readiness and the pairer go by what is known."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Self, TypeVar

import structlog

from pairs.background import Background
from pairs.errors import ModelUnavailable
from pairs.places import Place
from pairs.settings import Settings
from service.adapters import Shelf
from service.choice import State, common, prevailing
from service.mllm import Served
from service.places import Places
from service.replica import Replica

_LOOK_UP_S = 3.0

Answer = TypeVar("Answer")

_log = structlog.get_logger(__name__)


class ModelWatch(Background):
    """The replicas that there are, and what they serve, as of a moment ago.

    One whose address is no longer behind its name takes nothing new, and goes once nothing is in work there. Those
    that serve another model than most are not used.
    """

    def __init__(self, settings: Settings, shelf: Shelf) -> None:
        self._settings, self._shelf = settings, shelf
        self._places = Places(settings.mllm_urls)
        self._replicas: dict[Place, Replica] = {}
        self._ready: tuple[Replica, ...] = ()
        self._served: Served | None = None
        self._there = asyncio.Event()
        self._has_begun = False
        self._strange: set[tuple[str, str]] = set()
        self._listeners: list[Callable[[], None]] = []

    async def __aenter__(self) -> Self:
        await self._follow(await self._places.look_up())
        await self.look()
        self._has_begun = True  # the first to answer must not decide which model counts
        self._changed()
        return await super().__aenter__()

    async def __aexit__(self, *_: object) -> None:
        await super().__aexit__()
        for replica in self._replicas.values():
            await replica.__aexit__()

    @property
    def is_there(self) -> bool:
        return self._served is not None

    @property
    def ready(self) -> Sequence[Replica]:
        """The replicas that can be used now."""
        return self._ready

    def states(self) -> Counter[State]:
        """How many replicas are in each state."""
        return Counter(self._state(replica) for replica in self._replicas.values())

    def served(self) -> Served:
        """What every replica serves; raises ModelUnavailable while the model is away."""
        if self._served is None:
            raise self.absence()
        return self._served

    def absence(self) -> ModelUnavailable:
        """Why the model is not there."""
        reasons = [replica.reason for replica in self._replicas.values() if not replica.is_leaving]
        return ModelUnavailable(reasons[0] if reasons else "The model cannot be reached just now; try again shortly.")

    def listen(self, changed: Callable[[], None]) -> None:
        """Have `changed` called whenever a replica came or went."""
        self._listeners.append(changed)

    async def wait(self, timeout_s: float) -> bool:
        """Wait until the model is there; False after `timeout_s`."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._there.wait(), timeout_s)
        return self.is_there

    async def look(self) -> bool:
        """Ask every replica now: is the model there?"""
        await asyncio.gather(*(replica.look() for replica in self._replicas.values()))
        return self.is_there

    async def ask_any(self, ask: Callable[[Replica], Awaitable[Answer]]) -> Answer:
        """The answer of the replica that failed least of late, among equals of the least busy, or of another where that
        one is away; raises ModelUnavailable."""
        error = self.absence()
        for replica in sorted(self._ready, key=lambda one: (one.form.failures, one.in_work)):
            if replica.is_leaving:
                continue
            replica.in_asking += 1
            try:
                return await ask(replica)
            except ModelUnavailable as found:
                error = found
            finally:
                replica.in_asking -= 1
        raise error

    async def _run(self) -> None:
        while self._places.may_change:
            await asyncio.sleep(_LOOK_UP_S)
            await self._follow(await self._places.look_up())

    async def _follow(self, places: Sequence[Place]) -> None:
        for place in places:
            if place not in self._replicas:
                replica = Replica(place, self._settings, self._shelf, self._vet, self._changed)
                self._replicas[place] = await replica.__aenter__()
        for place, replica in list(self._replicas.items()):
            if replica.is_leaving != (place not in places):
                replica.is_leaving = place not in places
                _log.info("replica is leaving" if replica.is_leaving else "replica is back", replica=replica.name)
        self._changed()
        for place, replica in list(self._replicas.items()):
            if replica.is_leaving and replica.is_idle:
                del self._replicas[place]
                await replica.__aexit__()

    async def _vet(self, replica: Replica, found: Served) -> None:
        """Whether the replica has what the settings ask for. One of all looks up what is promoted, for all of them."""
        if self._ready and replica is not self._ready[0]:
            await self._shelf.require_own(found)
        else:
            await self._shelf.refresh(found)

    def _state(self, replica: Replica) -> State:
        if replica.is_leaving:
            return "leaving"
        if replica.found is None:
            return "away"
        if replica not in self._ready:
            return "other_model"
        return "failing" if replica.form.failures else "ready"

    def _changed(self) -> None:
        if not self._has_begun:
            return
        present = sorted(self._replicas.values(), key=lambda one: one.name)
        there = [(one, one.found) for one in present if one.found is not None and not one.is_leaving]
        model = prevailing([found.name for _, found in there], None if self._served is None else self._served.name)
        self._ready = tuple(one for one, found in there if found.name == model)
        self._served = common([found for _, found in there if found.name == model]) if there else None
        self._say_strange({(one.name, found.name) for one, found in there if found.name != model})
        if self.is_there:
            self._there.set()
        else:
            self._there.clear()
        for listener in self._listeners:
            listener()

    def _say_strange(self, strange: set[tuple[str, str]]) -> None:
        for replica, model in strange - self._strange:
            used = None if self._served is None else self._served.name
            _log.error(
                "a replica serves another model than most and is not used", replica=replica, serves=model, used=used
            )
        self._strange = strange
