"""`python -m tests.mllm.asynchronous`: as `python -m workers.mllm`, with asynchronous scheduling on.

vLLM's CPU platform switches asynchronous scheduling off, its GPU platforms leave it on. The model runner and the
engine's loop are the same, so with the switch put back a CPU shows what a GPU would do.
"""

import os
import sys
from typing import Any

from workers.mllm.__main__ import launch_from
from workers.mllm.launch import arguments, environment


def main() -> None:
    launch = launch_from(sys.argv[1:])
    os.environ.update(environment(launch, True, os.environ, sorted(os.sched_getaffinity(0))))
    from vllm.platforms.cpu import CpuPlatform

    settle = CpuPlatform.check_and_update_config

    def settle_but_for_the_switch(config: Any) -> None:
        settle(config)
        config.scheduler_config.async_scheduling = True

    CpuPlatform.check_and_update_config = staticmethod(settle_but_for_the_switch)
    sys.argv = ["vllm", *arguments(launch, True)]
    from vllm.entrypoints.launchers.api_server.entry import main as serve

    serve()


if __name__ == "__main__":  # the engine's processes import this file again
    main()
