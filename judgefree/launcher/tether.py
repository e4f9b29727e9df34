"""Become another program that the kernel ends together with this one's parent.

    python -I -S tether.py PARENT_PID PROGRAM ARGUMENT...

On Linux the program gets SIGTERM when its parent dies, kill -9 included; elsewhere the sweeper alone sees to that.
A program of its own rather than code between fork and exec, which is not safe in a process with threads.
"""

import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    parent, program = int(sys.argv[1]), sys.argv[2:]
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != parent:  # it died before the kernel was told
        sys.exit(1)
    os.execvp(program[0], program)


if __name__ == "__main__":
    main()
