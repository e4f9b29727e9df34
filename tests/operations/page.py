"""What docs/operations.md tells an operator to type, taken from the page and typed."""

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "operations.md"


def commands(heading: str) -> str:
    """The one block of shell commands under `heading` of the page, before the next heading."""
    [section] = re.findall(rf"^#+ {re.escape(heading)}\n(.*?)(?=^#+ |\Z)", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    [block] = re.findall(r"^```bash\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    return str(block)


def typed(heading: str, environment: Mapping[str, str], path: str = "") -> str:
    """Run the commands under `heading` with nothing else in the environment; returns what they printed.

    `path` are folders to look for programs in before the system's own. Raises where a command fails.
    """
    here = [path] if path else []
    searched = os.pathsep.join([*here, str(Path(sys.executable).parent), os.environ["PATH"]])
    ended = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", commands(heading)],
        env={"PATH": searched, "HOME": os.environ.get("HOME", "/")} | dict(environment),
        capture_output=True,
        text=True,
        check=False,
    )
    if ended.returncode != 0:
        raise AssertionError(f"{heading}: {ended.returncode}\n{ended.stdout}{ended.stderr}")
    return ended.stdout
