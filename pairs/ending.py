"""Ending tasks for certain.

Up to Python 3.11 `asyncio.wait_for` swallows a cancellation that comes just as what it awaits is done, and redis-py
sends every command through it: a task that talks to Redis, cancelled once, may go on for ever.
"""

import asyncio
from typing import Any, Final

_AGAIN_S: Final = 5.0
"""Longer than what a cancelled task has to put in order takes, unless Redis hangs: then its lease does it."""


async def end(*tasks: "asyncio.Task[Any]", again_s: float = _AGAIN_S) -> None:
    """Cancel the tasks, every `again_s` anew until each is over; raises none of their errors."""
    while running := [task for task in tasks if not task.done()]:
        for task in running:
            task.cancel()
        await asyncio.wait(running, timeout=again_s)
    await asyncio.gather(*tasks, return_exceptions=True)
