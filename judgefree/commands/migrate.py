"""`migrate`: the store's tables to the version of this judgefree."""

import asyncio

import typer

from pairs.database import migrate_store
from pairs.settings import load_settings


def migrate() -> None:
    """Bring the store's tables to the version that this judgefree needs; an empty store is made. May be repeated."""
    before, after = asyncio.run(migrate_store(load_settings().store_url))
    if before == after:
        typer.echo(f"The store is at version {after} already.")
    else:
        typer.echo(f"The store went from version {before} to {after}.")
