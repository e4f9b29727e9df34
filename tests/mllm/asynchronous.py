"""`python -m tests.mllm.asynchronous`: as `python -m workers.mllm`, with asynchronous scheduling on."""

import os
import sys

from tests.mllm.on_a_cpu import serve_asynchronously
from workers.mllm.__main__ import launch_from
from workers.mllm.launch import environment


def main() -> None:
    launch = launch_from(sys.argv[1:])
    os.environ.update(environment(launch, True, os.environ, sorted(os.sched_getaffinity(0))))
    serve_asynchronously(launch)


if __name__ == "__main__":  # the engine's processes import this file again
    main()
