"""Micro-batches: a batch goes when it is full, when its oldest entry has waited long enough, or when no more come."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

Entry = TypeVar("Entry")


_LOOKS = 4
"""How often a batch that fills looks for more: each look costs the queue and this process some messages."""


@dataclass(frozen=True)
class Ask:
    """Ask for at most `count` entries more, after a pause of `wait_s` in which they may come."""

    count: int
    wait_s: float


@dataclass(frozen=True)
class BatchPlan:
    """At most `size` entries; the oldest waits at most `age_s` seconds for others."""

    size: int
    age_s: float

    def next_ask(self, held: int, oldest_age_s: float) -> Ask | None:
        """What to ask for when `held` entries are there; None when the batch should go as it is."""
        room, patience_s = self.size - held, self.age_s - oldest_age_s
        return Ask(room, min(patience_s, self.age_s / _LOOKS)) if room > 0 and patience_s > 0 else None


async def fill(
    take: Callable[[int, float], Awaitable[list[Entry]]],
    plan: BatchPlan,
    idle_s: float,
    is_draining: Callable[[], bool],
) -> list[Entry]:
    """A batch by `plan`; empty when nothing came for `idle_s`. `take(count, wait_s)` must not raise."""
    clock = asyncio.get_running_loop().time
    batch = await take(plan.size, idle_s)
    began = clock()
    while batch and not is_draining():
        ask = plan.next_ask(len(batch), clock() - began)
        if ask is None:
            break
        await asyncio.sleep(ask.wait_s)
        more = await take(ask.count, 0)
        if not more:
            break
        batch += more
    return batch
