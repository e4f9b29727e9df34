"""`backup`: everything that was accepted, into a folder."""

from pathlib import Path
from typing import Annotated

import typer

from judgefree.backup.taking import take
from pairs.settings import load_settings


def backup(
    folder: Annotated[Path, typer.Argument(help="A new folder; it becomes a data folder that `judgefree up` can use.")],
    store: Annotated[bool, typer.Option(help="Copy the finished pairs.")] = True,
    images: Annotated[bool, typer.Option(help="Copy images, snapshots and adapters.")] = True,
) -> None:
    """Back up queue, store and images while everything works. To restore, see docs/operations.md."""
    made = take(load_settings(), folder, with_store=store, with_images=images)
    parts = [f"queue ({made.queue_bytes:,} bytes)"]
    parts += [f"store ({made.store})"] if made.store else []
    parts += [f"{made.images:,} images"] if made.images is not None else []
    typer.echo(f"{folder}: {', '.join(parts)}; everything accepted before {made.begun_at} is in it.")
