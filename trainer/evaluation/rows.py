"""JSON lines, read one after the other, each with its place for what is said of it."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from trainer.evaluation.errors import UnreadableDataSet

Row = dict[str, Any]


def read_rows(file: Path) -> Iterator[tuple[str, Row]]:
    """Each object of a JSON-lines file with the words for where it is; empty lines are passed over.

    Raises UnreadableDataSet where the file cannot be read, or at the first line that is no JSON object.
    """
    try:
        with file.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    where = f"{file}, line {number}"
                    yield where, _row(where, line)
    except OSError as error:
        raise UnreadableDataSet(f"{file} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise UnreadableDataSet(f"{file} is not text in UTF-8.") from error


def text_of(where: str, row: Row, name: str) -> str:
    """A text of a row. Raises UnreadableDataSet where it has none under that name."""
    found = row.get(name)
    if not isinstance(found, str):
        raise UnreadableDataSet(f'{where}: "{name}" must be a text.')
    return found


def _row(where: str, line: str) -> Row:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise UnreadableDataSet(f"{where}: not JSON ({error}).") from error
    if not isinstance(row, dict):
        raise UnreadableDataSet(f"{where}: a JSON object is wanted, not {type(row).__name__}.")
    return row
