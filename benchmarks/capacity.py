"""How much the whole system takes on this machine, and how near that comes to what its vLLM does alone.

    python -m benchmarks.capacity [--profile knee] [--images 120]

Starts the system as `judgefree up` does. Before and after the load test of the profile, the same requests go straight
to the same vLLM (`benchmarks.end_to_end`), on images as unseen as the load test's: their median is the ceiling. Writes
benchmarks/results/capacity_PROFILE.json; `python -m tools.capacity` makes docs/capacity.md of these files.
"""

import argparse
import asyncio
import json
import secrets
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.end_to_end import System, running_system, straight_to_the_model
from benchmarks.machine import write_result
from loadtests.pictures import Scenes

WARM_UP = 30
"""Images that are not counted."""


def ceiling(system: System, count: int) -> float:
    """Pairs/s straight from the model."""
    scenes = Scenes(secrets.randbits(63))
    return asyncio.run(straight_to_the_model(system, [scenes.next().file for _ in range(count)]))


def load(system: System, profile: str, folder: Path) -> dict[str, Any]:
    """The load test's summary; a run that does not pass is told, and counted all the same."""
    words = ["--host", system.gateway_url, "--profile", profile, "--out", str(folder)]
    subprocess.run([sys.executable, "-m", "loadtests", *words], check=False)
    found: dict[str, Any] = json.loads((folder / "summary.json").read_text())
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--profile", default="knee")
    parser.add_argument("--images", type=int, default=120)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, running_system(Path(folder)) as system:
        ceiling(system, WARM_UP)
        alone = [ceiling(system, options.images)]
        found = load(system, options.profile, Path(folder) / "loadtest")
        alone.append(ceiling(system, options.images))
        in_flight = system.settings.pairer_concurrency
    kept = {name: found[name] for name in ("passed", "complaints", "asked", "figures", "integrity", "queue")}
    model = {"images": options.images, "pairs_in_flight": in_flight, "pairs_per_s": alone}
    result = {"profile": options.profile, "model_alone": model | {"median": statistics.median(alone)}, **kept}
    print(f"model alone {alone}  -> {write_result('capacity', result, f'capacity_{options.profile}')}")


if __name__ == "__main__":
    main()
