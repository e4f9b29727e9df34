"""Where finished pairs rest: SQLAlchemy Core on SQLite (WAL) or PostgreSQL. A pair is inserted once, by its id."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self

from sqlalchemy import ColumnElement, Select, func, select, update
from sqlalchemy.ext.asyncio import AsyncEngine

from pairs.database import Guard, insert_into, open_engine
from pairs.errors import NotReviewable, UnknownPair
from pairs.model import Decision, Pair, PairId, Verdict
from pairs.schema import pairs
from pairs.timing import Observe, timed, unobserved


@dataclass(frozen=True)
class PairFilter:
    """Which finished pairs; None means any. `policy` is a model's name, or `model@adapter`."""

    decision: Decision | None = None
    verdicts: tuple[Verdict, ...] | None = None
    min_margin: float | None = None
    policy: str | None = None
    since: datetime | None = None

    def conditions(self) -> list[ColumnElement[bool]]:
        found: list[ColumnElement[bool]] = []
        if self.decision is not None:
            found.append(pairs.c.decision == self.decision)
        if self.verdicts is not None:
            found.append(pairs.c.verdict.in_(self.verdicts))
        if self.min_margin is not None:  # the sign only says which answer won
            found.append(func.abs(pairs.c.margin) >= self.min_margin)
        if self.policy is not None:
            model, _, adapter = self.policy.partition("@")
            found.append(pairs.c.policy_model == model)
            if adapter:
                found.append(pairs.c.policy_adapter == adapter)
        if self.since is not None:
            found.append(pairs.c.created_at >= self.since)
        return found


@dataclass(frozen=True)
class Page:
    """Some pairs, newest first, and the cursor of the next page if there is one."""

    pairs: list[Pair]
    next: PairId | None


class Store:
    """The finished pairs. Every write may be repeated. Raises StoreUnavailable when the database is away."""

    def __init__(self, engine: AsyncEngine, observe: Observe = unobserved) -> None:
        self._engine = engine
        self._observe = observe

    @classmethod
    async def open(cls, url: str, observe: Observe = unobserved) -> Self:
        """Connect to the database behind SQLAlchemy URL `url` and make the tables that are not there yet."""
        return cls(await open_engine(url), observe)

    async def close(self) -> None:
        await self._engine.dispose()

    async def ping(self) -> None:
        async with self._guard("ping"), self._engine.connect() as connection:
            await connection.execute(select(1))

    async def insert(self, finished: Sequence[Pair]) -> int:
        """Insert the pairs that are not there yet, in one transaction; returns how many were new."""
        if not finished:
            return 0
        insert = insert_into(self._engine, pairs)
        statement = insert.on_conflict_do_nothing(index_elements=["id"]).returning(pairs.c.id)
        async with self._guard("insert"), self._engine.begin() as connection:
            inserted = await connection.execute(statement, [_row(pair) for pair in finished])
            return len(inserted.all())

    async def get(self, pair_id: PairId) -> Pair | None:
        return (await self.get_many([pair_id])).get(pair_id)

    async def get_many(self, pair_ids: Sequence[PairId]) -> dict[PairId, Pair]:
        async with self._guard("get"), self._engine.connect() as connection:
            rows = await connection.execute(select(pairs.c.pair).where(pairs.c.id.in_(pair_ids)))
            found = [Pair.model_validate(row.pair) for row in rows]
        return {pair.id: pair for pair in found}

    async def page(self, wanted: PairFilter, limit: int, before: PairId | None = None) -> Page:
        """At most `limit` pairs, newest first, older than the cursor `before`."""
        query = select(pairs.c.pair).where(*wanted.conditions()).order_by(pairs.c.id.desc()).limit(limit + 1)
        if before is not None:
            query = query.where(pairs.c.id < before)
        found = await self._read(query)
        has_more = len(found) > limit
        return Page(found[:limit], found[limit - 1].id if has_more else None)

    async def scan(self, wanted: PairFilter, batch: int = 256) -> AsyncIterator[list[Pair]]:
        """Every pair that is there now, oldest first, `batch` at a time; memory does not grow with their number."""
        last = PairId("")
        while True:
            query = select(pairs.c.pair).where(*wanted.conditions(), pairs.c.id > last)
            found = await self._read(query.order_by(pairs.c.id).limit(batch))
            if not found:
                return
            yield found
            last = found[-1].id

    async def review(self, pair_id: PairId, verdict: Verdict) -> Pair:
        """Set a person's verdict over the machine's; raises UnknownPair, or NotReviewable without answers."""
        pair = await self.get(pair_id)
        if pair is None:
            raise UnknownPair(f"There is no finished pair {pair_id}.")
        if pair.answers is None:
            raise NotReviewable(f"Pair {pair_id} is {pair.status}.")
        reviewed = pair.reviewed(verdict)
        statement = update(pairs).where(pairs.c.id == pair_id).values(**_row(reviewed))
        async with self._guard("review"), self._engine.begin() as connection:
            await connection.execute(statement)
        return reviewed

    async def counts(self) -> dict[Decision, int]:
        """How many pairs there are of each decision."""
        query = select(pairs.c.decision, func.count()).group_by(pairs.c.decision)
        async with self._guard("counts"), self._engine.connect() as connection:
            found = {Decision(decision): count for decision, count in await connection.execute(query)}
        return {decision: found.get(decision, 0) for decision in Decision}

    @asynccontextmanager
    async def _guard(self, operation: str) -> AsyncIterator[None]:
        with timed(self._observe, operation):
            async with Guard():
                yield

    async def _read(self, query: Select[Any]) -> list[Pair]:
        async with self._guard("read"), self._engine.connect() as connection:
            return [Pair.model_validate(row.pair) for row in await connection.execute(query)]


def _row(pair: Pair) -> dict[str, Any]:
    if pair.decision is None or pair.verdict is None or pair.policy is None or pair.verifier is None:
        raise ValueError(f"pair {pair.id} is not finished")
    if pair.timings is None:
        raise ValueError(f"pair {pair.id} has no timings")
    return {
        "id": pair.id,
        "created_at": pair.created_at,
        "decision": pair.decision,
        "verdict": pair.verdict,
        "reason": pair.reason,
        "margin": pair.margin,
        "method": pair.hallucination.method,
        "ratio": pair.hallucination.ratio,
        "seed": str(pair.seed),
        "prompt": pair.prompt,
        "image_sha256": pair.image.sha256,
        "policy_model": pair.policy.model,
        "policy_adapter": pair.policy.adapter,
        "verifier_model": pair.verifier.model,
        "verifier_scorer": pair.verifier.scorer,
        "total_s": pair.timings.total_s,
        "schema_version": 1,
        "pair": pair.model_dump(mode="json"),
    }
