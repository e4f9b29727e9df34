"""End the process groups that a dead launcher left.

    python -I -S sweeper.py GRACE_S

Reads `+GROUP` and `-GROUP` lines from the launcher as its parts come and go. When the launcher is gone, however it
went, standard input ends: what is left gets SIGTERM, and SIGKILL after the grace.
"""

import os
import signal
import sys
import time
from contextlib import suppress


def main() -> None:
    grace_s = float(sys.argv[1])
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    groups: list[int] = []
    for line in sys.stdin:
        group = int(line[1:])
        if line[0] == "+":
            groups.append(group)
        elif group in groups:
            groups.remove(group)
    sweep(groups, grace_s)


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
