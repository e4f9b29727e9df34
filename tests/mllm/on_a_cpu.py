"""vLLM's server in this process, with what vLLM's CPU platform settles for its own sake put back."""

import os
import sys
from collections.abc import Sequence
from typing import Any


def serve(arguments: Sequence[str], is_asynchronous: bool, is_forking: bool = False) -> None:
    """Serve until a signal; the process's environment must be vLLM's already.

    is_asynchronous: vLLM's CPU platform switches asynchronous scheduling off, its GPU platforms leave it on. The model
    runner and the engine's loop are the same, so with the switch put back a CPU shows what a GPU would do.
    is_forking: the engine's process is a fork of this one, which has imported all that it needs; a model's class is
    looked at in this process too.
    """
    from vllm.entrypoints.launchers.api_server.entry import main
    from vllm.model_executor.models import registry
    from vllm.platforms.cpu import CpuPlatform

    settle = CpuPlatform.check_and_update_config

    def settle_but_for_what_is_put_back(config: Any) -> None:
        settle(config)
        if is_asynchronous:
            config.scheduler_config.async_scheduling = True
        if is_forking:
            os.environ["VLLM_WORKER_MULTIPROC_METHOD"] = "fork"

    CpuPlatform.check_and_update_config = staticmethod(settle_but_for_what_is_put_back)
    if is_forking:
        registry._run_in_subprocess = lambda look: look()
    sys.argv = ["vllm", *arguments]
    main()
