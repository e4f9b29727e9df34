"""`python -m trainer snapshot`: pin what the store, or an exported file, holds now, and print it as JSON."""

import argparse
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from pairs.errors import JudgefreeError
from pairs.model import Decision, Verdict
from pairs.settings import load_settings
from pairs.store import PairFilter


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; 2 for a setting or a source that is wrong."""
    asked = _parser().parse_args(arguments)
    try:
        print(_snapshot(asked))  # noqa: T201 - the command's result
    except JudgefreeError as error:
        print(error.detail, file=sys.stderr)  # noqa: T201 - the terminal is for people
        return 2
    return 0


def _snapshot(asked: argparse.Namespace) -> str:
    from trainer.rows import ParquetSource, StoreSource
    from trainer.snapshot import TRAINABLE, pin

    settings = load_settings(data_dir=asked.data_dir, database_url=asked.database_url, blob_url=asked.blob_url)
    query = PairFilter(asked.decision, tuple(asked.verdict or TRAINABLE), asked.min_margin, asked.policy, asked.since)
    source = ParquetSource(asked.parquet) if asked.parquet else StoreSource(settings.store_url, settings.images_url)
    return pin(source, query).as_json()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m trainer", description="Train on verified pairs.")
    command = parser.add_subparsers(dest="command", required=True).add_parser("snapshot", help=__doc__)
    command.add_argument("--parquet", type=Path, help="an exported file, instead of the store")
    command.add_argument("--decision", type=Decision, choices=list(Decision), help="the verifier's decision")
    command.add_argument("--verdict", type=Verdict, choices=list(Verdict), action="append", help="may be repeated")
    command.add_argument("--min-margin", type=float, help="least size of the margin")
    command.add_argument("--policy", help="MODEL or MODEL@ADAPTER")
    command.add_argument("--since", type=_instant, help="made at or after, ISO 8601; UTC where it names no zone")
    for flag in ("--data-dir", "--database-url", "--blob-url"):
        command.add_argument(flag)
    return parser


def _instant(text: str) -> datetime:
    instant = datetime.fromisoformat(text)
    return instant if instant.tzinfo else instant.replace(tzinfo=UTC)


if __name__ == "__main__":
    sys.exit(main())
