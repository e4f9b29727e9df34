"""Which LoRA adapters there are, and which one of a model is served: beside the pairs, in the same database."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Self

from pydantic import Field, model_validator
from sqlalchemy import insert, select
from sqlalchemy.ext.asyncio import AsyncEngine

from pairs.clock import now
from pairs.database import Guard, insert_into, open_engine
from pairs.errors import AdapterExists, NothingEarlier, UnknownAdapter
from pairs.model import Value
from pairs.schema import adapters, promotions

BASE: Final = "base"
"""What asks for the model as it is, wherever an adapter's name may stand."""


class Adapter(Value):
    """A trained adapter: `model` is the public name of the model that it is for (`Policy.model`), `path` the absolute
    folder in which vLLM finds it, `parent` the adapter whose pairs it was trained on (none: the model's own), and
    `snapshot_sha256` those pairs."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")]
    model: str
    path: Annotated[str, Field(pattern=r"^/")]
    parent: str | None = None
    snapshot_sha256: str
    run: str | None = None
    round: int | None = None
    created_at: datetime

    @model_validator(mode="after")
    def _has_a_name_of_its_own(self) -> Self:
        if self.name in (BASE, self.model):  # vLLM would answer with the model as it is
            raise ValueError(f"an adapter of {self.model} cannot be called {self.name}")
        return self


@dataclass(frozen=True)
class Promotion:
    """From `promoted_at` on, `model` is served with `adapter` (None: as it is); `reason` says who wanted it, or why."""

    model: str
    adapter: str | None
    promoted_at: datetime
    reason: str


class Adapters:
    """The registry. Every write may be repeated. Raises StoreUnavailable when the database is away."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    @classmethod
    async def open(cls, url: str) -> Self:
        """Connect to the database behind SQLAlchemy URL `url` and make the tables that are not there yet."""
        return cls(await open_engine(url))

    async def close(self) -> None:
        await self._engine.dispose()

    async def register(self, adapter: Adapter) -> bool:
        """Record the adapter unless it is there; returns whether it was new.

        Raises AdapterExists when its name is that of another one. When it was made is no difference: a part that was
        killed registers again.
        """
        statement = insert_into(self._engine, adapters).values(**adapter.model_dump())
        statement = statement.on_conflict_do_nothing(index_elements=["name"]).returning(adapters.c.name)
        async with Guard(), self._engine.begin() as connection:
            is_new = (await connection.execute(statement)).first() is not None
        there = await self.get(adapter.name)
        if there is None or there.model_copy(update={"created_at": adapter.created_at}) != adapter:
            raise AdapterExists(f"There is another adapter called {adapter.name}; give this one a name of its own.")
        return is_new

    async def get(self, name: str) -> Adapter | None:
        async with Guard(), self._engine.connect() as connection:
            row = (await connection.execute(select(adapters).where(adapters.c.name == name))).first()
        return None if row is None else _adapter(row)

    async def all(self, model: str | None = None) -> list[Adapter]:
        """The adapters of `model`, or of all models, oldest first."""
        query = select(adapters).order_by(adapters.c.created_at, adapters.c.name)
        if model is not None:
            query = query.where(adapters.c.model == model)
        async with Guard(), self._engine.connect() as connection:
            return [_adapter(row) for row in await connection.execute(query)]

    async def promote(self, model: str, name: str | None, reason: str) -> Adapter | None:
        """Serve `model` with adapter `name` from now on (None: as it is); returns the adapter.

        What is served already is not promoted again. Raises UnknownAdapter when the model has no such adapter.
        """
        adapter = None if name is None else await self.known(model, name)
        latest = await self._latest(model)
        if (None if latest is None else latest.adapter) != name:
            row = {"model": model, "adapter": name, "promoted_at": now(), "reason": reason}
            async with Guard(), self._engine.begin() as connection:
                await connection.execute(insert(promotions).values(**row))
        return adapter

    async def promoted(self, model: str) -> Adapter | None:
        """The adapter that `model` is served with; None is the model as it is."""
        latest = await self._latest(model)
        return None if latest is None or latest.adapter is None else await self.known(model, latest.adapter)

    async def history(self, model: str) -> list[Promotion]:
        """The model's promotions, oldest first."""
        query = select(promotions).where(promotions.c.model == model).order_by(promotions.c.id)
        async with Guard(), self._engine.connect() as connection:
            return [_promotion(row) for row in await connection.execute(query)]

    async def known(self, model: str, name: str) -> Adapter:
        """The adapter `name` of `model`; raises UnknownAdapter, which names those that there are."""
        adapter = await self.get(name)
        if adapter is None or adapter.model != model:
            raise unknown_adapter(model, name, [one.name for one in await self.all(model)])
        return adapter

    async def _latest(self, model: str) -> Promotion | None:
        query = select(promotions).where(promotions.c.model == model).order_by(promotions.c.id.desc()).limit(1)
        async with Guard(), self._engine.connect() as connection:
            row = (await connection.execute(query)).first()
        return None if row is None else _promotion(row)


def unknown_adapter(model: str, name: str, known: Sequence[str]) -> UnknownAdapter:
    """The error for a name that is none of the model's `known` adapters."""
    return UnknownAdapter(f"adapter: {model} has no adapter {name}; there are {', '.join([*known, BASE])}.")


def earlier(history: Sequence[Promotion]) -> str | None:
    """The adapter that was served before the present one was first promoted; None is the model as it is.

    A rollback is a promotion too, so it is not the last entry but one: going back twice must not lead forth again.
    Raises NothingEarlier where the model is served as it is.
    """
    present = history[-1].adapter if history else None
    if present is None:
        raise NothingEarlier("The model is served as it is; there is nothing to go back to.")
    first = next(index for index, promotion in enumerate(history) if promotion.adapter == present)
    return history[first - 1].adapter if first > 0 else None


def _adapter(row: Any) -> Adapter:
    found = dict(row._mapping)
    return Adapter(**found | {"created_at": _in_utc(found["created_at"])})


def _promotion(row: Any) -> Promotion:
    return Promotion(row.model, row.adapter, _in_utc(row.promoted_at), row.reason)


def _in_utc(moment: datetime) -> datetime:
    """SQLite keeps no zone, and what we write is in UTC."""
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
