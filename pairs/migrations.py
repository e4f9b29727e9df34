"""The version of the store's tables, and the steps from each to the next, the same on SQLite and PostgreSQL.

A part refuses a store of another version than its own: `judgefree migrate` brings an older one forward, in one
transaction, before the parts of the new version start. An empty store is made at the present version by whoever comes
first.
"""

from collections.abc import Callable
from typing import Final

from sqlalchemy import Connection, Table, func, inspect, select, text
from sqlalchemy.schema import CreateIndex, CreateTable

from pairs.clock import now
from pairs.errors import WrongStoreVersion
from pairs.schema import metadata, pairs, versions


def _make_tables(connection: Connection) -> None:
    """What was made before stores had a version holds the pairs, and of the other tables those that it knew.

    Before a step alters one of these tables, this one must be given them as they are now: it makes the newest.
    """
    for table in metadata.sorted_tables:
        _make_table(connection, table)


STEPS: Final[tuple[Callable[[Connection], None], ...]] = (_make_tables,)
"""STEPS[n] leads from version n to n + 1. A step that is out is never changed: a store may have gone through it."""
VERSION: Final = len(STEPS)


def require_version(connection: Connection) -> None:
    """Make an empty store; raises WrongStoreVersion, which says what to do, for one of another version."""
    if version_of(connection) == VERSION:
        return
    _lock(connection)
    found = version_of(connection)  # another part may have been faster
    if found is None:
        _make_tables(connection)
        _note(connection, VERSION)
    elif found != VERSION:
        raise _wrong(found)


def migrate(connection: Connection) -> tuple[int, int]:
    """Bring the store to the present version; returns the version that it had (0 where it was empty) and has.

    Raises WrongStoreVersion for one that a later judgefree has made.
    """
    _lock(connection)
    found = version_of(connection) or 0
    if found > VERSION:
        raise _wrong(found)
    for number in range(found, VERSION):
        STEPS[number](connection)
        _note(connection, number + 1)
    return found, VERSION


def version_of(connection: Connection) -> int | None:
    """The version of the store's tables, 0 for those made before there were versions; None where there are none."""
    tables = inspect(connection)  # a new one each time: it remembers what it saw
    if tables.has_table(versions.name):
        return connection.scalar(select(func.max(versions.c.version))) or 0
    return 0 if tables.has_table(pairs.name) else None


def _wrong(found: int) -> WrongStoreVersion:
    if found < VERSION:
        what = f"this judgefree needs {VERSION}; back it up and run `judgefree migrate`"
    else:
        what = f"this judgefree knows {VERSION}; use a later one, or restore a backup"
    return WrongStoreVersion(f"The store is at version {found} and {what}.")


def _lock(connection: Connection) -> None:
    """Keep other processes from doing the same until the transaction ends."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(hashtext('judgefree.schema'))"))
    else:
        connection.execute(text("BEGIN IMMEDIATE"))  # Python's sqlite3 begins none before it makes tables


def _make_table(connection: Connection, table: Table) -> None:
    connection.execute(CreateTable(table, if_not_exists=True))
    for index in sorted(table.indexes, key=lambda index: str(index.name)):
        connection.execute(CreateIndex(index, if_not_exists=True))


def _note(connection: Connection, version: int) -> None:
    connection.execute(versions.insert().values(version=version, migrated_at=now()))
