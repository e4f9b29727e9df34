"""What is measured of the queue: how much there is of it, how old, and how its server stands."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pairs.entries import Stage, added_s

_STREAMS: Final = (Stage.JOBS, Stage.CANDIDATES, "dead")


@dataclass(frozen=True)
class Depth:
    """How many entries each stream holds: waiting and taken together for the stages, and the dead letters."""

    jobs: int
    candidates: int
    dead: int

    @property
    def in_flight(self) -> int:
        """Pairs accepted and not done."""
        return self.jobs + self.candidates


@dataclass(frozen=True)
class Backlog:
    """The queue and its server at one moment.

    `lag` is what no worker of the group was given yet, of each stage; `oldest_s` the age of the oldest entry of each
    stream, 0 for an empty one: an entry that was given back or failed begins anew. `aof_bytes` is None for a server
    without an append-only file; `takes_writes` is False after a write to it failed.
    """

    depth: Depth
    lag: dict[Stage, int]
    oldest_s: dict[str, float]
    memory_bytes: int
    aof_bytes: int | None
    takes_writes: bool


def ask_depth(pipeline: Any, key: Callable[[str], str]) -> None:
    """Put what `Depth` needs, one reply a field, on a pipeline of Redis'; `key` is of a stream's name."""
    for name in _STREAMS:
        pipeline.xlen(key(name))


def ask_backlog(pipeline: Any, key: Callable[[str], str], group: str) -> None:
    """Put all that `backlog_of` reads on a pipeline, which has to be a transaction."""
    ask_depth(pipeline, key)
    for name in _STREAMS:
        pipeline.xrange(key(name), count=1)
    for stage in Stage:
        pipeline.xpending(key(stage), group)
    pipeline.time()
    pipeline.info("memory")
    pipeline.info("persistence")


def backlog_of(replies: Sequence[Any]) -> Backlog:
    """The backlog by the replies to `ask_backlog`.

    The lag that Redis itself tells (XINFO GROUPS) is none as soon as entries are settled out of order. Here it is
    exact: a settled entry is deleted, so what is not pending was not given to anybody yet.
    """
    depth, oldest, pending = Depth(*replies[:3]), replies[3:6], replies[6:8]
    (seconds, microseconds), memory, persistence = replies[8:]
    now_s = seconds + microseconds / 1e6
    return Backlog(
        depth=depth,
        lag={stage: getattr(depth, stage) - one["pending"] for stage, one in zip(Stage, pending, strict=True)},
        oldest_s={
            name: max(0.0, now_s - added_s(entries[0][0])) if entries else 0.0
            for name, entries in zip(_STREAMS, oldest, strict=True)
        },
        memory_bytes=memory["used_memory"],
        aof_bytes=persistence.get("aof_current_size"),
        takes_writes=persistence["aof_last_write_status"] == "ok",
    )
