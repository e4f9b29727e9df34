"""`snapshot` writes down what the store, or an exported file, holds now; `snapshots` lists what was written down."""

import argparse
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table

from pairs.model import Decision
from pairs.settings import load_settings
from pairs.store import PairFilter
from trainer.rows import ParquetSource, Source, StoreSource
from trainer.selection import TRAINABLE, Selection
from trainer.snapshot import Snapshots


def snapshot(arguments: Sequence[str]) -> None:
    """Take a snapshot and print its manifest."""
    asked = _parser().parse_args(arguments)
    settings = load_settings(data_dir=asked.data_dir)
    query = PairFilter(asked.decision, TRAINABLE, asked.min_margin, asked.policy, asked.since)
    selection = Selection(
        query,
        asked.max_margin,
        asked.per_image,
        asked.per_policy,
        asked.balance_methods,
        asked.count,
        asked.held_out,
        asked.seed,
    )
    source: Source = StoreSource(settings.store_url, settings.images_url)
    if asked.parquet is not None:
        source = ParquetSource(asked.parquet)
    print(Snapshots(settings.snapshots_url, settings.images_url).take(source, selection).as_json())  # noqa: T201


def snapshots(arguments: Sequence[str]) -> None:
    """List the snapshots, oldest first."""
    parser = argparse.ArgumentParser(prog="judgefree snapshots", description=snapshots.__doc__)
    parser.add_argument("--data-dir", help="folder of everything that is kept (setting data_dir)")
    settings = load_settings(data_dir=parser.parse_args(arguments).data_dir)
    table = Table("snapshot", "pairs", "held out", "verdicts", "policies", "taken", box=None)
    for one in Snapshots(settings.snapshots_url, settings.images_url).all():
        numbers = (one.name, str(one.count), str(one.held_out))
        table.add_row(*numbers, _counts(one.verdicts), _counts(one.policies), one.created_at[:19])
    Console().print(table if table.row_count else "No snapshot has been taken yet.")


def _counts(counted: dict[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counted.items())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="judgefree snapshot", description=snapshot.__doc__)
    parser.add_argument("--data-dir", help="folder of everything that is kept (setting data_dir)")
    parser.add_argument("--parquet", type=Path, help="an exported file, instead of the store")
    parser.add_argument("--decision", type=Decision, choices=list(Decision), help="the verifier's decision")
    parser.add_argument("--min-margin", type=float, help="least size of the margin")
    parser.add_argument("--max-margin", type=float, help="greatest size of the margin")
    parser.add_argument("--policy", help="MODEL or MODEL@ADAPTER")
    parser.add_argument("--since", type=_instant, help="made at or after, ISO 8601; UTC where it names no zone")
    parser.add_argument("--per-image", type=int, help="most pairs an image")
    parser.add_argument("--per-policy", type=int, help="most pairs a policy")
    parser.add_argument("--balance-methods", action="store_true", help="as many pairs of each injection method")
    parser.add_argument("--count", type=int, help="most pairs")
    parser.add_argument("--held-out", type=float, default=0.0, help="share of the images that is held out")
    parser.add_argument("--seed", type=int, default=0, help="draws which pairs are taken where not all are")
    return parser


def _instant(text: str) -> datetime:
    instant = datetime.fromisoformat(text)
    return instant if instant.tzinfo else instant.replace(tzinfo=UTC)
