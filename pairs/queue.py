"""Where jobs and candidates wait: Redis streams with consumer groups, changed only by the named scripts in `lua/`.

Delivery is at least once. An entry belongs to the consumer that took it until it is settled (`forward`, `finish`,
`fail`) or until that consumer is silent for a lease; then another takes it over. Settling twice does nothing, and
every write downstream is keyed by pair id, so in effect each pair passes exactly once.
"""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.resources import files
from types import MappingProxyType
from typing import Any, Literal, Self

from pydantic import ValidationError
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialBackoff
from redis.commands.core import AsyncScript
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import InvalidResponse, OutOfMemoryError, ReadOnlyError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from pairs.backlog import Backlog, Depth, ask_backlog, ask_depth, backlog_of
from pairs.entries import DeadLetter, Delivery, Payload, Stage, entries_of, fields_of, flat, letter_of, pending_of
from pairs.errors import IdempotencyConflict, QueueFull, QueueUnavailable
from pairs.model import Candidate, Job, Pair, PairId, Status
from pairs.settings import Settings
from pairs.takeover import TakeOver, plan

__all__ = ["GROUP", "Backlog", "DeadLetter", "Delivery", "Depth", "Idempotency", "Queue", "Stage"]

GROUP = "workers"
_SCRIPTS = ("admit", "mark", "forward", "finish", "fail", "release", "requeue")
_AWAY = (RedisConnectionError, RedisTimeoutError, OSError, InvalidResponse, OutOfMemoryError, ReadOnlyError)
_REFUSING = re.compile(r"\b(?:MISCONF|OOM|READONLY|LOADING|NOREPLICAS|MASTERDOWN)\b")
"""What Redis says while it takes no writes for a reason of its own: a full disk or memory, a failover, a start."""

_ALONE_S = 0.05
_LOOKS_A_LEASE = 20
_PAGE = 500
"""Entries told in one reply: Valkey serves nobody else while it makes one."""

_WAITING = {Stage.JOBS: Status.QUEUED, Stage.CANDIDATES: Status.VERIFYING}
_TAKEN = {Stage.JOBS: Status.GENERATING, Stage.CANDIDATES: Status.VERIFYING}


@dataclass(frozen=True)
class Idempotency:
    """A client's key for a request, and the fingerprint of the request it stands for."""

    key: str
    fingerprint: str


class Queue:
    """The queue of one namespace. Every call raises QueueUnavailable while Redis is away."""

    def __init__(self, redis: Redis, settings: Settings) -> None:
        self.redis: Any = redis  # redis-py types every reply for bytes and str alike
        self._settings = settings
        self._prefix = f"{{{settings.namespace}}}:"  # one hash slot: the scripts touch several keys
        folder = files("pairs") / "lua"
        self._looks_at: dict[tuple[Stage, str], float] = {}
        self._scripts: dict[str, AsyncScript] = {
            name: redis.register_script((folder / f"{name}.lua").read_text()) for name in _SCRIPTS
        }

    @classmethod
    async def connect(cls, settings: Settings) -> Self:
        """Connect to Redis and make the consumer groups; raises QueueUnavailable when it does not answer."""
        redis = Redis.from_url(
            settings.redis_url,
            decode_responses=True,
            socket_connect_timeout=5,
            socket_timeout=30,
            retry=Retry(ExponentialBackoff(cap=0.5, base=0.05), 2),
        )
        queue = cls(redis, settings)
        await queue.prepare()
        return queue

    async def prepare(self) -> None:
        """Make the streams and their consumer group, if they are not there."""
        async with self._guard():
            for stage in Stage:
                try:
                    await self.redis.xgroup_create(self._key(stage), GROUP, id="0", mkstream=True)
                except ResponseError as error:
                    if "BUSYGROUP" not in str(error):
                        raise

    async def close(self) -> None:
        await self.redis.aclose()

    async def ping(self) -> None:
        async with self._guard():
            await self.redis.ping()

    async def admit(
        self,
        jobs: Sequence[Job],
        idempotency: Idempotency | None = None,
        traces: Mapping[PairId, str | None] = MappingProxyType({}),
    ) -> list[PairId]:
        """Accept all of `jobs` or none, in one step that survives a crash; returns their ids.

        Each keeps its traceparent of `traces` until it rests in the store, through retries and take-overs.
        A request repeated under its idempotency key gets the ids of the first time. Raises QueueFull past
        `max_in_flight`, IdempotencyConflict when the key stands for another request.
        """
        keys = [self._key(Stage.JOBS), self._key(Stage.CANDIDATES)]
        if idempotency is not None:
            keys.append(self._key(f"idempotency:{idempotency.key}"))
        fingerprint = idempotency.fingerprint if idempotency else ""
        arguments: list[Any] = [self._settings.max_in_flight, fingerprint, self._settings.idempotency_ttl_s]
        arguments.append(self._in_flight_key(PairId("")))
        for job in jobs:
            arguments += [job.id, job.model_dump_json(), traces.get(job.id) or ""]
        outcome, *ids = await self._call("admit", keys, arguments)
        match outcome:
            case "full":
                raise QueueFull(f"{self._settings.max_in_flight} pairs are in flight already; try again later.")
            case "conflict":
                raise IdempotencyConflict("This Idempotency-Key was used for another request; use a new one.")
            case "replay":
                return [PairId(pair_id) for pair_id in ids]
        return [job.id for job in jobs]

    async def take_jobs(self, consumer: str, count: int, block_s: float) -> list[Delivery[Job]]:
        """At most `count` jobs for `consumer`, waiting at most `block_s` for the first."""
        return await self._take(Stage.JOBS, Job, consumer, count, block_s)

    async def take_candidates(self, consumer: str, count: int, block_s: float) -> list[Delivery[Candidate]]:
        """At most `count` candidates for `consumer`, waiting at most `block_s` for the first."""
        return await self._take(Stage.CANDIDATES, Candidate, consumer, count, block_s)

    async def forward(self, delivery: Delivery[Job], candidate: Candidate) -> bool:
        """Acknowledge the job and add its candidate, in one step; False where another delivery was first."""
        keys = [self._key(Stage.JOBS), self._key(Stage.CANDIDATES), self._in_flight_key(delivery.pair_id)]
        fields = fields_of(delivery.pair_id, candidate.model_dump_json(), delivery.trace)
        return bool(await self._call("forward", keys, [GROUP, delivery.entry, *fields]))

    async def finish(self, deliveries: Sequence[Delivery[Candidate]]) -> list[bool]:
        """Acknowledge candidates whose pairs rest in the store, and tell the waiters, in one step.

        False for each that another delivery settled first.
        """
        if not deliveries:
            return []
        keys = [self._key(Stage.CANDIDATES), self.doorbell]
        keys += [self._in_flight_key(delivery.pair_id) for delivery in deliveries]
        settled = [part for delivery in deliveries for part in (delivery.entry, delivery.pair_id)]
        return [bool(is_first) for is_first in await self._call("finish", keys, [GROUP, *settled])]

    async def fail(
        self, delivery: Delivery[Job] | Delivery[Candidate], reason: str, *, may_retry: bool
    ) -> Literal["retry", "dead", "gone"]:
        """Give an entry back for another attempt, or to the dead letters when it has had its attempts."""
        fields = fields_of(delivery.pair_id, delivery.payload.model_dump_json(), delivery.trace)
        return await self._fail(delivery.stage, delivery.entry, delivery.pair_id, fields, reason, may_retry)

    async def release(self, delivery: Delivery[Job] | Delivery[Candidate]) -> Literal["released", "dead", "gone"]:
        """Give an entry back without using up an attempt: its worker ends, or what the worker needs went away.

        An entry that is given back more than `max_releases` times is taken for the cause, and goes to the dead letters.
        """
        keys = [self._key(delivery.stage), self._in_flight_key(delivery.pair_id)]
        fields = fields_of(delivery.pair_id, delivery.payload.model_dump_json(), delivery.trace)
        arguments = [GROUP, delivery.entry, _WAITING[delivery.stage], self._settings.max_releases, *fields]
        outcome = await self._call("release", keys, arguments)
        if outcome == "worn":
            reason = f"given back {self._settings.max_releases} times: what it needs went away each time it was in work"
            return "dead" if await self.fail(delivery, reason, may_retry=False) == "dead" else "gone"
        result: Literal["released", "gone"] = outcome
        return result

    async def renew(self, consumer: str, deliveries: Iterable[Delivery[Job] | Delivery[Candidate]]) -> None:
        """Start the lease of entries in work anew, so that no other consumer takes them over."""
        by_stage: dict[Stage, list[str]] = {}
        for delivery in deliveries:
            by_stage.setdefault(delivery.stage, []).append(delivery.entry)
        async with self._guard():
            for stage, entries in by_stage.items():
                await self.redis.xclaim(self._key(stage), GROUP, consumer, 0, entries, justid=True)

    async def in_flight(self, pair_ids: Sequence[PairId]) -> dict[PairId, Pair]:
        """The pairs among `pair_ids` that are accepted and not in the store: queued ... verifying, or failed."""
        async with self._guard(), self.redis.pipeline(transaction=False) as pipeline:
            for pair_id in pair_ids:
                pipeline.hgetall(self._in_flight_key(pair_id))
            states = await pipeline.execute()
        return {
            pair_id: Pair.of_job(
                Job.model_validate_json(state["job"]),
                Status(state["status"]),
                state.get("reason") if state["status"] == Status.FAILED else None,
            )
            for pair_id, state in zip(pair_ids, states, strict=True)
            if "job" in state
        }

    async def depth(self) -> Depth:
        async with self._guard(), self.redis.pipeline(transaction=False) as pipeline:
            ask_depth(pipeline, self._key)
            return Depth(*await pipeline.execute())

    async def backlog(self) -> Backlog:
        """All that is measured of the queue, in one round trip."""
        async with self._guard(), self.redis.pipeline(transaction=True) as pipeline:
            ask_backlog(pipeline, self._key, GROUP)
            return backlog_of(await pipeline.execute())

    async def dead_letters(self) -> AsyncIterator[DeadLetter]:
        """The dead letters, oldest first."""
        start = "-"
        while True:
            async with self._guard():
                entries = await self.redis.xrange(self._key("dead"), min=start, count=100)
            for entry, fields in entries:
                yield letter_of(entry, fields)
            if not entries:
                return
            start = f"({entries[-1][0]}"

    async def latest_dead_letters(self, count: int) -> list[DeadLetter]:
        """The last `count` dead letters, newest first."""
        async with self._guard():
            entries = await self.redis.xrevrange(self._key("dead"), count=count)
        return [letter_of(entry, fields) for entry, fields in entries]

    async def requeue(self, letter: DeadLetter) -> bool:
        """Give a dead letter its attempts anew; False where it is no longer there."""
        keys = [self._key("dead"), self._key(letter.stage), self._in_flight_key(letter.pair_id)]
        fields = fields_of(letter.pair_id, letter.payload, letter.trace)
        return bool(await self._call("requeue", keys, [letter.entry, _WAITING[letter.stage], *fields]))

    @property
    def doorbell(self) -> str:
        """The channel on which the ids of settled pairs are published."""
        return self._key("doorbell")

    async def _take(
        self, stage: Stage, kind: type[Payload], consumer: str, count: int, block_s: float
    ) -> list[Delivery[Payload]]:
        async with self._guard():
            what = await self._plan(stage, consumer, count)
            entries = await self._take_over(stage, consumer, what)
            if what.must_wait:
                await asyncio.sleep(min(block_s, _ALONE_S))
            elif not entries:
                block_ms = max(1, int(block_s * 1000))
                reply = await self.redis.xreadgroup(GROUP, consumer, {self._key(stage): ">"}, count, block_ms)
                entries = entries_of(reply)
        taken = await self._read(stage, kind, entries)
        if taken:
            await self._call("mark", [self._in_flight_key(one.pair_id) for one in taken], [_TAKEN[stage]])
        return taken

    async def _read(
        self, stage: Stage, kind: type[Payload], entries: Iterable[tuple[str, dict[str, str]]]
    ) -> list[Delivery[Payload]]:
        """The entries as deliveries; one that cannot be read goes to the dead letters and does not stop the others."""
        readable = []
        for entry, fields in entries:
            pair_id = PairId(fields["id"])
            try:
                payload = kind.model_validate_json(fields["payload"])
                readable.append(Delivery(stage, entry, pair_id, payload, fields.get("trace")))
            except ValidationError:
                reason = "it cannot be read: another version of judgefree wrote it"
                await self._fail(stage, entry, pair_id, flat(fields), reason, may_retry=False)
        return readable

    async def _plan(self, stage: Stage, consumer: str, count: int) -> TakeOver:
        """What to take over, looked for a few times a lease, and at every take for as long as there is something."""
        if time.monotonic() < self._looks_at.get((stage, consumer), 0):
            return TakeOver()
        lease_ms = int(self._settings.lease_s * 1000)
        async with self.redis.pipeline(transaction=False) as pipeline:
            pipeline.xpending_range(self._key(stage), GROUP, "-", "+", count, idle=lease_ms)
            pipeline.xpending_range(self._key(stage), GROUP, "-", "+", _PAGE, consumername=consumer)
            silent, held = map(pending_of, await pipeline.execute())
        page = held
        while len(page) == _PAGE:
            after = f"({page[-1].entry}"
            page = pending_of(
                await self.redis.xpending_range(self._key(stage), GROUP, after, "+", _PAGE, consumername=consumer)
            )
            held += page
        what = plan(silent, held, lease_ms, self._settings.max_attempts)
        pause_s = self._settings.lease_s / _LOOKS_A_LEASE if what == TakeOver() else 0
        self._looks_at[stage, consumer] = time.monotonic() + pause_s
        return what

    async def _take_over(self, stage: Stage, consumer: str, what: TakeOver) -> list[tuple[str, dict[str, str]]]:
        """Entries of consumers that fell silent; one that keeps killing its workers goes to the dead letters."""
        if not what.dead and not what.taken:
            return []
        lease_ms = int(self._settings.lease_s * 1000)
        claimed = await self.redis.xclaim(self._key(stage), GROUP, consumer, lease_ms, [*what.dead, *what.taken])
        alive = []
        for entry, fields in claimed:
            if not fields:
                continue
            if entry in what.dead:
                reason = f"its worker died {self._settings.max_attempts} times while it was in work"
                await self._fail(stage, entry, PairId(fields["id"]), flat(fields), reason, may_retry=False)
            else:
                alive.append((entry, fields))
        return alive

    async def _fail(
        self, stage: Stage, entry: str, pair_id: PairId, fields: list[str], reason: str, may_retry: bool
    ) -> Literal["retry", "dead", "gone"]:
        keys = [self._key(stage), self._in_flight_key(pair_id), self._key("dead"), self.doorbell]
        most = self._settings.max_attempts if may_retry else 0
        arguments = [GROUP, entry, pair_id, stage, reason, most, _WAITING[stage], *fields]
        outcome, _ = await self._call("fail", keys, arguments)
        result: Literal["retry", "dead", "gone"] = outcome
        return result

    def _key(self, name: str) -> str:
        return f"{self._prefix}{name}"

    def _in_flight_key(self, pair_id: PairId) -> str:
        return self._key(f"pair:{pair_id}")

    async def _call(self, script: str, keys: Sequence[str], arguments: Sequence[Any]) -> Any:
        async with self._guard():
            return await self._scripts[script](keys=keys, args=arguments)

    @asynccontextmanager
    async def _guard(self) -> AsyncIterator[None]:
        try:
            yield
        except _AWAY as error:
            raise QueueUnavailable("The queue cannot be reached just now; try again shortly.") from error
        except ResponseError as error:
            if _REFUSING.search(str(error)):
                raise QueueUnavailable("The queue takes nothing just now; try again shortly.") from error
            if "NOGROUP" not in str(error):
                raise
            await self.prepare()  # the streams were flushed: nothing is left to lose, so begin anew
            raise QueueUnavailable("The queue was emptied under this request; try again.") from error
