"""Work that goes on beside an object's use: it starts with the object's `async with` block and ends with it."""

import asyncio
from abc import ABC, abstractmethod
from contextlib import suppress
from typing import Self

import structlog

_log = structlog.get_logger(__name__)


class Background(ABC):
    """One task for as long as the block lasts. An error that ends it early is logged at once and raised where the block
    ends."""

    _task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run(), name=type(self).__name__)
        self._task.add_done_callback(_tell)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    @abstractmethod
    async def _run(self) -> None:
        """The work, which goes on until it is cancelled."""


def _tell(task: "asyncio.Task[None]") -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        _log.error("work in the background has ended", work=task.get_name(), exc_info=error)
