"""`doctor`: what is in force, what is installed, what answers, and what to do about the rest."""

import json
from dataclasses import asdict
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from judgefree.examination import Report, State, examine
from pairs.settings import load_settings

_STYLES = {State.OK: "green", State.AWAY: "yellow", State.BAD: "red"}


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Show settings with their origin, versions, the machine, and each part. Exit code 0 when judgefree is usable."""
    report = examine(load_settings())
    if as_json:
        typer.echo(json.dumps(asdict(report) | {"is_usable": report.is_usable}, indent=2))
    else:
        _print(report, Console())
    if not report.is_usable:
        raise typer.Exit(1)


def _print(report: Report, console: Console) -> None:
    settings = [(name, value, f"[dim]{origin}[/]") for name, (value, origin) in report.settings.items()]
    for title, rows in (
        ("Settings", settings),
        ("Versions", list(report.versions.items())),
        ("Machine", list(report.machine.items())),
    ):
        console.print(_table(rows, title), soft_wrap=True)
    table = Table.grid(padding=(0, 2))
    for finding in report.findings:
        table.add_row(Text(finding.state.upper(), style=_STYLES[finding.state]), finding.what, Text(finding.said))
    console.print("\n[bold]Parts[/]")
    console.print(table, soft_wrap=True)


def _table(rows: "list[tuple[str, str, str]] | list[tuple[str, str]]", title: str) -> Table:
    table = Table(title=f"\n{title}", title_style="bold", title_justify="left", show_header=False, box=None)
    for row in rows:
        table.add_row(*row)
    return table
