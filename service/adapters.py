"""The adapters that requests may ask for, and the replica's having them when their pairs are generated."""

import asyncio

import structlog

from pairs.adapters import BASE, Adapter, Adapters, unknown_adapter
from pairs.ending import end
from pairs.errors import AdapterNotLoaded, ModelUnavailable, StoreUnavailable
from pairs.settings import Settings
from service.mllm import Mllm, Served

_log = structlog.get_logger(__name__)


class Shelf:
    """The registry as of a moment ago: requests are answered from here, and ask the database only for a new name."""

    def __init__(self, registry: Adapters, settings: Settings) -> None:
        self._registry = registry
        self._own = settings.adapter
        self._known: dict[str, Adapter] = {}
        self._promoted: Adapter | None = None
        self._seen: str | None = None

    @property
    def default(self) -> str | None:
        """The adapter of requests that name none; None is the model as it is."""
        if self._own is not None:
            return None if self._own == BASE else self._own
        return None if self._promoted is None else self._promoted.name

    async def refresh(self, served: Served) -> None:
        """Look up what is promoted for the served model; while the store is away, it stays as it was last seen.

        Raises ModelUnavailable when the adapter of the settings is neither loaded nor registered.
        """
        try:
            await self._look(served.policy.model)
        except StoreUnavailable as error:
            _log.warning("the promoted adapter cannot be looked up", cause=repr(error.__cause__))
        await self.require_own(served)

    async def require_own(self, served: Served) -> None:
        """Raise ModelUnavailable when the adapter of the settings is neither loaded nor registered."""
        if self._own is None or self._own in (BASE, *served.adapters):
            return
        try:
            is_lost = await self._find(served.policy.model, self._own) is None
        except StoreUnavailable:  # `_find` would have known it
            is_lost = True
        if is_lost:
            raise ModelUnavailable(f"The model is there, but its adapter {self._own} is not loaded.")

    async def chosen(self, model: str, asked: str | None) -> str | None:
        """The adapter for a request that asks for `asked`, or for none in particular; None is the model as it is.

        Raises UnknownAdapter, which names those that there are, or StoreUnavailable.
        """
        if asked is None:
            if self._own is None and self._seen != model:  # never answer with another policy for not knowing
                await self._look(model)
            return self.default
        if asked in (BASE, self._own):
            return None if asked == BASE else asked
        if await self._find(model, asked) is None:
            own = [] if self._own in (None, BASE) else [str(self._own)]
            raise unknown_adapter(model, asked, [*own, *(one.name for one in await self._registry.all(model))])
        return asked

    async def path(self, model: str, name: str) -> str | None:
        """Where vLLM finds the adapter; None for one that is not registered: vLLM was started with it."""
        adapter = await self._find(model, name)
        return None if adapter is None else adapter.path

    async def _look(self, model: str) -> None:
        promoted = await self._registry.promoted(model)
        if (promoted, model) != (self._promoted, self._seen):
            _log.info("promoted", model=model, adapter=None if promoted is None else promoted.name)
        self._promoted, self._seen = promoted, model

    async def _find(self, model: str, name: str) -> Adapter | None:
        adapter = self._known.get(name) or await self._registry.get(name)
        if adapter is None or adapter.model != model:
            return None
        self._known[name] = adapter
        return adapter


class Loader:
    """Has the replica load an adapter when it is first asked for, once for all who ask."""

    def __init__(self, mllm: Mllm, shelf: Shelf) -> None:
        self._mllm, self._shelf = mllm, shelf
        self._loaded: set[str] = set()
        self._loading: dict[str, asyncio.Task[None]] = {}

    async def close(self) -> None:
        await end(*self._loading.values())

    async def ensure(self, served: Served, name: str | None) -> None:
        """Wait until the replica has adapter `name`.

        Raises AdapterNotLoaded when it cannot have it, ModelUnavailable or StoreUnavailable.
        """
        if name is not None and name not in self._loaded:
            await self._load(served, name)

    async def restore(self, served: Served, name: str) -> None:
        """As `ensure`, after the replica said that it has no such adapter: it was started anew, or made to forget."""
        self._loaded.discard(name)
        await self._load(served, name)

    async def _load(self, served: Served, name: str) -> None:
        task = self._loading.get(name)
        if task is None:
            task = self._loading[name] = asyncio.create_task(self._bring(served, name), name=f"loading {name}")
            task.add_done_callback(lambda ended: self._ended(name, ended))
        await asyncio.shield(task)  # one who gives up must not end it for the others

    def _ended(self, name: str, task: "asyncio.Task[None]") -> None:
        del self._loading[name]
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.warning("adapter is not loaded", adapter=name, cause=repr(error))

    async def _bring(self, served: Served, name: str) -> None:
        there = await self._mllm.adapters()
        path = await self._shelf.path(served.policy.model, name)
        if name not in there:
            if path is None:
                raise AdapterNotLoaded(f"vLLM has no adapter {name}, and none is registered for the model")
            await self._mllm.load_adapter(name, path)
            _log.info("adapter is loaded", adapter=name)
        elif path is not None and there[name].startswith("/") and there[name] != path:
            raise AdapterNotLoaded(
                f"vLLM has another adapter under the name {name}; start vLLM anew", is_permanent=True
            )
        self._loaded.add(name)
