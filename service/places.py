"""Where the replicas are just now: the names in the setting `mllm_url` are looked up anew each time."""

import asyncio
from collections.abc import Sequence

import structlog

from pairs.places import Place, is_name, look_up

_log = structlog.get_logger(__name__)


class Places:
    """The replicas' places by their URLs."""

    def __init__(self, urls: Sequence[str]) -> None:
        self._known: dict[str, tuple[Place, ...]] = {url: () if is_name(url) else (Place(url),) for url in urls}
        self._names = [url for url in self._known if is_name(url)]
        self._said: dict[str, str] = {}

    @property
    def may_change(self) -> bool:
        return bool(self._names)

    async def look_up(self) -> list[Place]:
        """Where the replicas are now; while a name cannot be looked up, where they were."""
        await asyncio.gather(*map(self._look_up, self._names))
        return [place for places in self._known.values() for place in places]

    async def _look_up(self, url: str) -> None:
        try:
            self._known[url] = await asyncio.to_thread(look_up, url)
        except OSError as error:
            self._say(url, "a replica's name cannot be looked up", repr(error))
        else:
            self._say(url, "" if self._known[url] else "a replica's name has no address")

    def _say(self, url: str, trouble: str, cause: str | None = None) -> None:
        """Once for as long as it lasts."""
        if trouble and self._said.get(url) != trouble:
            _log.warning(trouble, url=url, cause=cause)
        self._said[url] = trouble
