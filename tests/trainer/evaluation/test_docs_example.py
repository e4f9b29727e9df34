"""docs/evaluation.md: its program prints what stands there, and its commands are commands."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

from tests.processes import ROOT
from trainer.commands.evaluate import parser

DOCS = (ROOT / "docs" / "evaluation.md").read_text()


def test_the_program_prints_what_the_page_says(tmp_path: Path) -> None:
    [(program, printed)] = re.findall(r"```python\n(.*?)```\n\nprints\n\n```\n(.*?)```", DOCS, re.DOTALL)
    (tmp_path / "example.py").write_text(program)
    ended = subprocess.run(
        [sys.executable, str(tmp_path / "example.py")],
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.stdout, ended.stderr) == (printed, "")


def test_its_commands_are_commands() -> None:
    commands = [line.strip() for line in DOCS.splitlines() if line.startswith("    judgefree evaluate")]
    assert len(commands) == 2
    for command in commands:
        assert parser().parse_args(shlex.split(command)[2:]).data


def test_every_flag_is_on_the_page() -> None:
    flags = set(re.findall(r"--[a-z]+(?:-[a-z]+)*", parser().format_help())) - {"--help"}
    assert not {flag for flag in flags if flag not in DOCS}
