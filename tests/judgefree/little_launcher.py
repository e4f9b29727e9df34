"""A launcher of little parts as a process of its own, to be interrupted and killed.

python little_launcher.py FOLDER GRACE_S PLAN...
"""

import asyncio
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from judgefree.commands.stack import stop_on_signals
from judgefree.launcher.probes import HttpProbe
from judgefree.launcher.stack import Part, Stack
from judgefree.launcher.supervision import Phase, Policy

LITTLE_PART = Path(__file__).with_name("little_part.py")


def little_part(plan: dict[str, object], folder: Path) -> Part:
    command = (sys.executable, str(LITTLE_PART), json.dumps(plan | {"folder": str(folder)}))
    needs, scratch_in = plan.get("needs", ()), plan.get("scratch_in", ())
    assert isinstance(needs, list | tuple)
    assert isinstance(scratch_in, list | tuple)
    probe = HttpProbe(f"http://127.0.0.1:{plan['port']}/")
    return Part(str(plan["name"]), str(plan["name"]), command, dict(os.environ), probe, frozenset(needs), scratch_in)


class Printer:
    """Says on standard output what a watcher is told."""

    def changed(self, part: Part, phase: Phase) -> None:
        print(f"{part.name} {phase}", flush=True)

    def died(self, part: Part, exit_code: int, delay_s: float, log: Path, last_lines: Sequence[str]) -> None:
        print(f"{part.name} died with {exit_code}: {' | '.join(last_lines)}", flush=True)

    def ending(self, part: Part) -> None:
        print(f"{part.name} ending", flush=True)


async def main() -> None:
    folder, grace_s = Path(sys.argv[1]), float(sys.argv[2])
    parts = [little_part(json.loads(plan), folder) for plan in sys.argv[3:]]
    running = Stack(parts, folder / "logs", Printer(), Policy(first_delay_s=0.05, grace_s=grace_s))
    stop_on_signals(running)

    async def stay() -> None:
        print("all ready", flush=True)
        await asyncio.Event().wait()

    await running.run(stay)


if __name__ == "__main__":
    asyncio.run(main())
