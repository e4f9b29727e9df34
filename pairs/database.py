"""The way to the database of the store and of the adapters: SQLite (WAL) or PostgreSQL, the same tables on both."""

from pathlib import Path
from typing import Any

from sqlalchemy import Table, event
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, NotSupportedError, ProgrammingError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from pairs.errors import StoreUnavailable
from pairs.migrations import migrate, require_version

_REFUSED = (DataError, IntegrityError, NotSupportedError, ProgrammingError)
"""Errors of what was asked, not of the database's state: asking again shortly does not help."""


class Guard:
    """Turns a database that is away or full into StoreUnavailable; what it refuses for what was asked, goes on."""

    async def __aenter__(self) -> None:
        return None

    async def __aexit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, DBAPIError | OSError) and not isinstance(error, _REFUSED):
            raise StoreUnavailable("The store cannot be read or written just now; try again shortly.") from error


async def open_engine(url: str) -> AsyncEngine:
    """Connect to the database behind SQLAlchemy URL `url`, and make its tables if there are none.

    Raises StoreUnavailable when the database is away, WrongStoreVersion when its tables are of another version.
    """
    engine = _connect(url)
    try:
        async with Guard(), engine.begin() as connection:
            await connection.run_sync(require_version)
    except BaseException:
        await engine.dispose()
        raise
    return engine


async def migrate_store(url: str) -> tuple[int, int]:
    """Bring the tables behind SQLAlchemy URL `url` to the present version; returns the version before and after.

    Raises StoreUnavailable when the database is away, WrongStoreVersion when a later judgefree has made them.
    """
    engine = _connect(url)
    try:
        async with Guard(), engine.begin() as connection:
            return await connection.run_sync(migrate)
    finally:
        await engine.dispose()


def _connect(url: str) -> AsyncEngine:
    parsed = make_url(url)
    is_sqlite = parsed.get_backend_name() == "sqlite"
    if is_sqlite and parsed.database:
        Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
    engine = create_async_engine(parsed, pool_pre_ping=not is_sqlite)
    if is_sqlite:
        event.listen(engine.sync_engine, "connect", _configure_sqlite)
    return engine


def insert_into(engine: AsyncEngine, table: Table) -> Any:
    """An INSERT in the engine's dialect: unlike SQLAlchemy's own, it knows ON CONFLICT."""
    dialect: Any = postgresql if engine.dialect.name == "postgresql" else sqlite
    return dialect.insert(table)


def _configure_sqlite(connection: Any, _record: object) -> None:
    cursor = connection.cursor()
    # WAL lets readers and one writer go on together; FULL syncs each commit, so an acknowledged pair survives a crash.
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "busy_timeout=10000"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()
