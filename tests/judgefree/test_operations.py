"""The operations page says what is true: every setting, with its default, as the schema has it."""

from pathlib import Path

import pytest

from judgefree.examination import shown
from pairs.settings import Settings

PAGE = Path(__file__).parents[2] / "docs" / "operations.md"


def row(name: str) -> str:
    field = Settings.model_fields[name]
    default = shown(name, field.default)
    return f"| `{name}` | {default if default in ('unset', 'none') else f'`{default}`'} | {field.description} |"


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_setting_is_in_the_table(name: str) -> None:
    assert row(name) in PAGE.read_text().splitlines()


def test_no_setting_is_in_the_table_that_is_not_there() -> None:
    table = PAGE.read_text().partition("| setting | default |")[2]
    rows = [line.split("`")[1] for line in table.splitlines() if line.startswith("| `")]
    assert rows == list(Settings.model_fields)
