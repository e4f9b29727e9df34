"""The store's part of a backup: SQLite by its own online copy, PostgreSQL by pg_dump."""

import os
import shutil
import sqlite3
import subprocess
from pathlib import Path

from sqlalchemy.engine import URL, make_url

from judgefree.mistakes import Mistake, PartFailed
from pairs.errors import StoreUnavailable

SQLITE, POSTGRES = "pairs.db", "pairs.dump"


def copy_store(url: str, folder: Path) -> Path:
    """Copy the database behind SQLAlchemy URL `url`, as it is at one moment, to a file in `folder`; returns the file.

    Raises Mistake where there is no pg_dump, PartFailed with its words where it fails, StoreUnavailable for SQLite.
    """
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite":
        return _copy_sqlite(Path(parsed.database or ""), folder / SQLITE)
    return _dump_postgres(parsed, folder / POSTGRES)


def _copy_sqlite(database: Path, file: Path) -> Path:
    if not database.is_file():
        raise Mistake(f"There is no store {database} to back up.")
    source, copy = sqlite3.connect(f"file:{database}?mode=ro", uri=True), sqlite3.connect(file)
    try:
        source.backup(copy)
    except sqlite3.Error as error:
        raise StoreUnavailable(f"The store cannot be copied: {error}.") from error
    finally:
        copy.close()
        source.close()
    return file


def _dump_postgres(url: URL, file: Path) -> Path:
    program = shutil.which("pg_dump")
    if program is None:
        raise Mistake("There is no pg_dump to back PostgreSQL up with; install its client, or give --no-store.")
    secret = {"PGPASSWORD": str(url.password)} if url.password else {}  # not where `ps` would show it
    named = url.set(drivername="postgresql", password=None).render_as_string(hide_password=False)
    command = [program, "--format=custom", "--no-owner", f"--file={file}", f"--dbname={named}"]
    ended = subprocess.run(command, env=os.environ | secret, capture_output=True, text=True, check=False)
    if ended.returncode != 0:
        raise PartFailed(f"pg_dump failed: {ended.stderr.strip()}")
    return file
