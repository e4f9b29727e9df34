"""Entry point `vllm.platform_plugins`: the one hook that every process of vLLM calls before it imports torchvision.

vLLM asks each platform plugin for the name of a platform class while it is being imported itself, also in the fresh
Python in which it inspects a model's class. General plugins are loaded later, when transformers has already imported
torchvision.
"""

import sys

from workers.mllm.obstacles import obstacle_in
from workers.mllm.versions import end_unless_supported


def register() -> None:
    """Make torchvision importable beside a CPU build of torch. The platform we name is none: vLLM keeps its own.

    Does nothing on a CUDA build of torch, and nothing when repeated. Ends the process with one sentence if its command
    line names classes of this room, and paired decoding does not know this vLLM or does not work with the arguments:
    later, the sentence would stand above two stack traces.
    """
    if any("workers.mllm." in argument for argument in sys.argv):
        end_unless_supported()
        if obstacle := obstacle_in(sys.argv[1:]):
            print(obstacle.sentence, file=sys.stderr)  # noqa: T201 - for the person at the terminal
            raise SystemExit(2)
    from pairs.torchvision_cpu import declare_missing_ops

    declare_missing_ops()
