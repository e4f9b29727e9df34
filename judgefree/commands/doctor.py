"""`doctor`: what is in force, what is installed, what answers, and what to do about the rest."""

import json
from dataclasses import asdict
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from judgefree.commands.terminal import terminal
from judgefree.examination import Report, State, examine
from pairs.settings import load_settings

_STYLES = {State.OK: "green", State.RISK: "yellow", State.AWAY: "yellow", State.BAD: "red"}


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Show settings with their origin, versions, the machine, and each part. Exit code 0 when judgefree is usable."""
    report = examine(load_settings())
    if as_json:
        typer.echo(json.dumps(asdict(report) | {"is_usable": report.is_usable}, indent=2))
    else:
        _print(report, terminal(stderr=False))
    if not report.is_usable:
        raise typer.Exit(1)


def _print(report: Report, console: Console) -> None:
    settings = [(name, f"{value}  [{origin}]") for name, (value, origin) in report.settings.items()]
    for title, rows in (
        ("Settings", settings),
        ("Versions", list(report.versions.items())),
        ("Machine", list(report.machine.items())),
    ):
        _section(console, title, [(Text(), name, said) for name, said in rows])
    parts = [(finding.state, finding.what, finding.said) for finding in report.findings]
    _section(
        console, "Parts", [(Text(f"{state.upper():<6}", _STYLES[state]), what, said) for state, what, said in parts]
    )


def _section(console: Console, title: str, rows: list[tuple[Text, str, str]]) -> None:
    console.print(Text(f"\n{title}", "bold"))
    width = max(len(name) for _, name, _ in rows)
    for mark, name, said in rows:
        console.print(Text.assemble("  ", mark, f"{name:<{width}}  ", said))
