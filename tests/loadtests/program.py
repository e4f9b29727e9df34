"""`python -m loadtests` as a process, on a stack that is there."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.e2e.stack import Stack
from tests.processes import ROOT


@dataclass
class Loadtest:
    """The program on a stack, with profiles of a test file's own; reports go below `folder`."""

    stack: Stack
    folder: Path
    profiles: str

    def start(self, *words: str) -> "subprocess.Popen[str]":
        environment = {name: value for name, value in os.environ.items() if not name.startswith("JUDGEFREE_")}
        return subprocess.Popen(
            [sys.executable, "-m", "loadtests", *words], cwd=ROOT, env=environment, text=True, stderr=subprocess.PIPE
        )

    def load(self, profile: str, *words: str) -> "subprocess.Popen[str]":
        file = self.folder / "profiles.toml"
        file.write_text(self.profiles)
        where = ["--host", self.stack.gateway_url, "--profiles", str(file), "--out", str(self.folder / profile)]
        return self.start(*where, "--profile", profile, *words)

    def summary(self, profile: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.folder / profile / "summary.json").read_text())
        return found
