"""`adapters` and `rollback`: which adapters there are, and which one is served."""

import asyncio
import getpass
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Annotated

import typer

from judgefree.commands.terminal import terminal
from pairs.adapters import BASE, Adapter, Adapters, earlier
from pairs.settings import Settings, load_settings, public_name

_HEADINGS = ("ADAPTER", "MODEL", "ROUND", "CREATED (UTC)", "")


def adapters() -> None:
    """List the adapters of every model; the one that is served is marked."""
    typer.echo("\n".join(asyncio.run(_listed(load_settings()))))


def rollback(
    name: Annotated[
        str | None, typer.Argument(help="An adapter, or `base`; the one served before if not given.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="Of which model; the one of the settings if not given.")] = None,
    reason: Annotated[str | None, typer.Option(help="Why, for the record.")] = None,
) -> None:
    """Serve an earlier adapter, or the model as it is, to every pair that is posted from now on."""
    settings = load_settings()
    whom = public_name(model or settings.model)
    why = f"rollback by {_user()}" + (f": {reason}" if reason else "")
    before, now = asyncio.run(_roll_back(settings, whom, name, why))
    if before == now:
        typer.echo(f"{whom} is served with {now or BASE} already.")
    else:
        typer.echo(f"{whom} is served with {now or BASE} from now on; before, it was {before or BASE}.")
    if settings.adapter is not None:
        terminal().print(f"The setting adapter = {settings.adapter} is over it: requests that name none get that one.")


@asynccontextmanager
async def _registry(settings: Settings) -> AsyncIterator[Adapters]:
    opened = await Adapters.open(settings.store_url)
    try:
        yield opened
    finally:
        await opened.close()


async def _listed(settings: Settings) -> list[str]:
    async with _registry(settings) as registry:
        found = await registry.all()
        models = sorted({public_name(settings.model), *(adapter.model for adapter in found)})
        served = {model: await registry.promoted(model) for model in models}
    rows: list[tuple[str, ...]] = [_HEADINGS]
    for model in models:
        rows.append((BASE, model, "", "", "" if served[model] else "served"))
        rows += [_row(adapter, adapter == served[model]) for adapter in found if adapter.model == model]
    return _aligned(rows)


async def _roll_back(settings: Settings, model: str, name: str | None, why: str) -> tuple[str | None, str | None]:
    """The adapter served before and the one served now; None is the model as it is."""
    async with _registry(settings) as registry:
        history = await registry.history(model)
        wanted = earlier(history) if name is None else (None if name == BASE else name)
        await registry.promote(model, wanted, why)
    return (history[-1].adapter if history else None), wanted


def _row(adapter: Adapter, is_served: bool) -> tuple[str, ...]:
    number = "" if adapter.round is None else str(adapter.round)
    return (adapter.name, adapter.model, number, f"{adapter.created_at:%Y-%m-%d %H:%M}", "served" if is_served else "")


def _aligned(rows: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        return f"user {os.getuid()}"
