"""vLLM's server in this process, as a GPU would have it scheduled."""

import sys
from typing import Any

from workers.mllm.launch import Launch, arguments


def serve_asynchronously(launch: Launch) -> None:
    """Serve until a signal; the process's environment must be vLLM's already, for vLLM reads it when it is imported.

    vLLM's CPU platform switches asynchronous scheduling off, its GPU platforms leave it on. The model runner and the
    engine's loop are the same, so with the switch put back a CPU shows what a GPU would do.
    """
    from vllm.platforms.cpu import CpuPlatform

    settle = CpuPlatform.check_and_update_config

    def settle_but_for_the_switch(config: Any) -> None:
        settle(config)
        config.scheduler_config.async_scheduling = True

    CpuPlatform.check_and_update_config = staticmethod(settle_but_for_the_switch)
    sys.argv = ["vllm", *arguments(launch, True)]
    from vllm.entrypoints.launchers.api_server.entry import main as serve

    serve()
