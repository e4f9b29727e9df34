"""What is known of improvement runs: beside the pairs, in the same database, written at every step of a run."""

from datetime import datetime
from enum import StrEnum
from typing import Any, Self

from pydantic import Field
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from pairs.clock import now
from pairs.database import Guard, insert_into, open_engine
from pairs.model import Value
from pairs.schema import runs


class Phase(StrEnum):
    """Where a round is, in order."""

    GENERATING = "generating"
    TRAINING = "training"
    EVALUATING = "evaluating"
    JUDGING = "judging"
    DONE = "done"


class RunStatus(StrEnum):
    RUNNING = "running"
    DONE = "done"
    STOPPED = "stopped"
    """By the collapse watch; `reason` says which bound was passed."""


class Round(Value):
    """One round: the policy's pairs, the adapter trained on them, and whether it was promoted.

    `parent` is the adapter that made the pairs (None: the model as it is), `ratio_mean` the mean ratio of their
    injected answers (None: as the settings say). `evaluation` and `test` are what
    `judgefree evaluate` said of the new adapter and its parent, `watch` the figures of the collapse watch and
    `watch_before` those before the first round. `seconds` is the time that each phase took.
    """

    number: int
    parent: str | None
    phase: Phase = Phase.GENERATING
    ratio_mean: float | None = None
    decisions: dict[str, int] = Field(default_factory=dict)
    adapter: str | None = None
    snapshot_sha256: str | None = None
    evaluation: dict[str, Any] | None = None
    test: dict[str, Any] | None = None
    watch: dict[str, float] = Field(default_factory=dict)
    watch_before: dict[str, float] = Field(default_factory=dict)
    is_promoted: bool | None = None
    reasons: tuple[str, ...] = ()
    seconds: dict[str, float] = Field(default_factory=dict)


class ImprovementRun(Value):
    """A run of `judgefree improve`: what was asked for, and its rounds so far."""

    name: str
    model: str
    asked: dict[str, Any]
    rounds: tuple[Round, ...] = ()
    status: RunStatus = RunStatus.RUNNING
    reason: str | None = None
    created_at: datetime

    def with_round(self, changed: Round) -> Self:
        """This run with its round of that number replaced, or added."""
        others = tuple(one for one in self.rounds if one.number != changed.number)
        ordered = sorted((*others, changed), key=lambda one: one.number)
        return self.model_copy(update={"rounds": tuple(ordered)})


class Runs:
    """The runs. Every write may be repeated. Raises StoreUnavailable when the database is away."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    @classmethod
    async def open(cls, url: str) -> Self:
        """Connect to the database behind SQLAlchemy URL `url` and make the tables that are not there yet."""
        return cls(await open_engine(url))

    async def close(self) -> None:
        await self._engine.dispose()

    async def save(self, run: ImprovementRun) -> None:
        """Write the run down, over what was written of it before."""
        row = {"name": run.name, "created_at": run.created_at, "updated_at": now(), "run": run.model_dump(mode="json")}
        statement = insert_into(self._engine, runs).values(**row)
        changes = {name: statement.excluded[name] for name in ("updated_at", "run")}
        async with Guard(), self._engine.begin() as connection:
            await connection.execute(statement.on_conflict_do_update(index_elements=["name"], set_=changes))

    async def get(self, name: str) -> ImprovementRun | None:
        async with Guard(), self._engine.connect() as connection:
            row = (await connection.execute(select(runs.c.run).where(runs.c.name == name))).first()
        return None if row is None else ImprovementRun.model_validate(row.run)

    async def all(self) -> list[ImprovementRun]:
        """Every run, oldest first."""
        async with Guard(), self._engine.connect() as connection:
            found = await connection.execute(select(runs.c.run).order_by(runs.c.created_at, runs.c.name))
            return [ImprovementRun.model_validate(row.run) for row in found]
