"""Make requirements.lock anew: the newest versions of everything that pyproject.toml asks for on CPU, pinned.

Run it as `make lock`. The lock is installed with --no-deps after torch, so what it leaves out stays out:
torch itself (the Makefile installs it first, so that a CPU build can be chosen), and packages that vLLM names but a
CPU build does without: torchaudio and torchcodec (CUDA builds that do not import beside a CPU torch), triton (1 GB).
"""

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
EXTRAS = "gateway,verifier,mllm-cpu,trainer,demo,embedded,postgres,s3,tracing,loadtest,dev"
LEFT_OUT = {"judgefree", "torch", "torchaudio", "torchcodec", "triton"}
HEADER = (
    "# Pinned by `make lock`; installed with --no-deps after torch (see tools/lock.py). Python 3.11, Linux x86-64.\n"
)


def main() -> None:
    with tempfile.NamedTemporaryFile(suffix=".json") as report:
        resolve = ["install", "--quiet", "--dry-run", "--ignore-installed", "--report", report.name]
        torch = re.search(r"torch==[\d.]+", (ROOT / "Makefile").read_text())
        if torch is None:
            raise SystemExit("The Makefile pins no torch.")
        subprocess.run([sys.executable, "-m", "pip", *resolve, torch[0], f"{ROOT}[{EXTRAS}]"], check=True)
        found = [entry["metadata"] for entry in json.loads(Path(report.name).read_text())["install"]]
    pins = {_normalised(package["name"]): package["version"] for package in found}
    lines = [f"{name}=={version}\n" for name, version in sorted(pins.items()) if name not in LEFT_OUT]
    (ROOT / "requirements.lock").write_text(HEADER + "".join(lines))


def _normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


if __name__ == "__main__":
    main()
