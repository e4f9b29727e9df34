"""`export` and `requeue`."""

import asyncio
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from judgefree.client import Filters
from judgefree.commands.connection import open_client
from judgefree.mistakes import Mistake
from pairs.model import Decision
from pairs.queue import DeadLetter, Queue
from pairs.settings import Settings, load_settings


class Format(StrEnum):
    PARQUET = "parquet"
    JSONL = "jsonl"


def export(
    out: Annotated[Path, typer.Option(help="The file to write.")],
    kind: Annotated[Format, typer.Option("--format", help="What to write.")] = Format.PARQUET,
    url: Annotated[str | None, typer.Option(help="The gateway; the one of the settings if not given.")] = None,
    decision: Annotated[Decision | None, typer.Option(help="Only pairs of this decision.")] = None,
    min_margin: Annotated[float | None, typer.Option(help="Only pairs with at least this margin, in size.")] = None,
    policy: Annotated[str | None, typer.Option(help="Only pairs of this MODEL or MODEL@ADAPTER.")] = None,
    since: Annotated[datetime | None, typer.Option(help="Only pairs made since then (UTC).")] = None,
) -> None:
    """Write the finished pairs to a file that TRL's DPO trainer reads."""
    moment = since.replace(tzinfo=UTC) if since is not None and since.tzinfo is None else since
    filters = Filters(decision=decision, min_margin=min_margin, policy=policy, since=moment)
    if not out.parent.is_dir():
        raise Mistake(f"There is no folder {out.parent}.")
    with open_client(load_settings(), url) as client:
        try:
            size = client.export(out, kind.value, filters)
        except OSError as error:
            raise Mistake(f"{out} cannot be written: {error.strerror}.") from error
    typer.echo(f"{out}: {size:,} bytes")


def requeue(
    pair_ids: Annotated[list[str] | None, typer.Argument(help="Ids of dead-lettered pairs.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="All dead letters.")] = False,
) -> None:
    """Give dead-lettered pairs their attempts anew; without arguments, list them with their reasons."""
    if pair_ids and everything:
        raise Mistake("Give either ids or --all.")
    wanted = None if everything else set(pair_ids or ())
    asyncio.run(_requeue(load_settings(), wanted))


async def _requeue(settings: Settings, wanted: set[str] | None) -> None:
    """Put back the letters of the pairs in `wanted`: all if None, none but a list of them if it is empty."""
    queue = await Queue.connect(settings)
    try:
        letters = [letter async for letter in queue.dead_letters()]
        chosen = [letter for letter in letters if wanted is None or letter.pair_id in wanted]
        unknown = (wanted or set()) - {letter.pair_id for letter in letters}
        if unknown:
            raise Mistake(f"No dead letter of {', '.join(sorted(unknown))}; `judgefree requeue` lists them.")
        if wanted is not None and not wanted:
            _list(letters)
            return
        put_back = [await queue.requeue(letter) for letter in chosen]
        typer.echo(f"{sum(put_back)} of {len(letters)} dead letters are queued again.")
    finally:
        await queue.close()


def _list(letters: list[DeadLetter]) -> None:
    for letter in letters:
        typer.echo(f"{letter.pair_id}  {letter.stage}  {letter.attempts} attempts  {letter.reason}")
    how = "; `judgefree requeue ID...` or `--all` queues them again" if letters else ""
    typer.echo(f"{len(letters)} dead letter{'' if len(letters) == 1 else 's'}{how}.")
