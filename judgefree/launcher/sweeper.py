"""End the process groups that a dead launcher left, and remove their temporary folders.

    python -I -S sweeper.py GRACE_S

Reads `+GROUP FOLDER` and `-GROUP FOLDER` lines, the folder empty for a part that has none, from the launcher as its
parts come and go. When the launcher is gone, however it went, standard input ends: what is left gets SIGTERM, and
SIGKILL after the grace.
"""

import os
import shutil
import signal
import sys
import time
from contextlib import suppress


def main() -> None:
    grace_s = float(sys.argv[1])
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    folders: dict[int, str] = {}
    for line in sys.stdin:
        group, _, folder = line[1:].rstrip("\n").partition(" ")
        if line[0] == "+":
            folders[int(group)] = folder
        else:
            folders.pop(int(group), None)
    sweep(list(folders), grace_s)
    for folder in filter(None, folders.values()):
        shutil.rmtree(folder, ignore_errors=True)


def sweep(groups: list[int], grace_s: float) -> None:
    _signal(groups, signal.SIGTERM)
    deadline = time.monotonic() + grace_s
    while _signal(groups, 0) and time.monotonic() < deadline:
        time.sleep(0.1)
    _signal(groups, signal.SIGKILL)


def _signal(groups: list[int], number: int) -> bool:
    """Send the signal to every group; says whether there was one left to get it."""
    is_any_left = False
    for group in reversed(groups):
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(group, number)
            is_any_left = True
    return is_any_left


if __name__ == "__main__":
    main()
