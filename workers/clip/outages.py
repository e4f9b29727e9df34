"""Waiting out an outage of the queue or the store, with growing pauses; pauses end at once when the process stops."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TypeVar

import structlog

from pairs.errors import QueueUnavailable, StoreUnavailable

_FIRST_S, _LONGEST_S = 0.1, 5.0
_LAST_TRIES = 3
"""Further attempts after the process was told to stop."""

Result = TypeVar("Result")
log = structlog.get_logger()


def pause_s(attempt: int) -> float:
    """The pause after the failed attempt number `attempt`, counted from 1, in seconds."""
    return min(_LONGEST_S, _FIRST_S * 2.0 ** min(attempt - 1, 16))


class Patience:
    """Repeats what the queue or the store could not do, until it can or the process is to stop."""

    def __init__(self, stopping: asyncio.Event) -> None:
        self._stopping = stopping

    async def pause(self, attempt: int) -> None:
        """Wait as `pause_s` says, or until the process is to stop; then still a little."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), pause_s(attempt))
            await asyncio.sleep(_FIRST_S)

    async def outlast(self, act: Callable[[], Awaitable[Result]], event: str) -> Result:
        """The result of `act`, repeated through any outage; it must be safe to repeat.

        Raises QueueUnavailable or StoreUnavailable only when the process is to stop.
        """
        attempt = tries_since_stop = 0
        while True:
            try:
                return await act()
            except (QueueUnavailable, StoreUnavailable) as error:
                attempt += 1
                tries_since_stop += self._stopping.is_set()
                if tries_since_stop > _LAST_TRIES:
                    raise
                log.warning(event, detail=error.detail, attempt=attempt)
            await self.pause(attempt)
