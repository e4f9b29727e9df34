"""Work that goes on beside an object's use: it starts with the object's `async with` block and ends with it."""

import asyncio
from abc import ABC, abstractmethod
from typing import Final, Self

import structlog

from pairs.ending import end

_PAUSE_S: Final = 1.0

_logger = structlog.get_logger(__name__)


class Background(ABC):
    """One task for as long as the block lasts. An error that breaks the work off is logged with its traceback, and the
    work begins anew after a pause: what stands beside it is in use, and would go by what it last found for ever."""

    _task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._go_on(), name=type(self).__name__)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._task is not None:
            await end(self._task)

    @abstractmethod
    async def _run(self) -> None:
        """The work, which goes on until it is cancelled, or there is nothing more to do; it may be begun anew."""

    async def _go_on(self) -> None:
        while True:
            try:
                await self._run()
            except Exception:
                _logger.exception("work in the background broke off and begins anew", work=type(self).__name__)
                await asyncio.sleep(_PAUSE_S)
            else:
                return
