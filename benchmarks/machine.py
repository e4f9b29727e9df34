"""What a result was measured on; every result file carries it."""

import json
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from judgefree.ablation.machine import describe_machine

RESULTS = Path(__file__).parent / "results"


def write_result(name: str, result: dict[str, Any], file: str | None = None) -> Path:
    """Keep `result` as benchmarks/results/NAME.json, or FILE.json, with the machine, the tree's commit and the time."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{file or name}.json"
    stamped = {"benchmark": name, "measured_at": datetime.now(UTC).isoformat(timespec="seconds"), **result}
    path.write_text(json.dumps({**stamped, "machine": describe_machine() | {"commit": _commit()}}, indent=2) + "\n")
    return path


def _commit() -> str:
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "--short", "HEAD"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
