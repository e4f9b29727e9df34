"""`python -m tests.mllm.interpreted`: as `python -m workers.mllm`, on vLLM's V2 model runner, a GPU's default.

That runner's kernels are written in Triton, whose published builds know no CPU. Triton's own interpreter runs them
there nevertheless, slowly and but for top-k and top-p; vLLM only has to be told that a CPU will do. Asynchronous
scheduling is on, as on a GPU.
"""

import os
import sys

os.environ |= {"TRITON_INTERPRET": "1", "VLLM_LOGGING_LEVEL": "DEBUG"}

from triton import backends  # type: ignore[import-untyped]

from tests.mllm.on_a_cpu import serve
from workers.mllm.__main__ import launch_from
from workers.mllm.launch import arguments, environment


class _Interpreter:
    """Stands where vLLM looks for a Triton that compiles for CPUs."""

    class driver:  # noqa: N801 - Triton's name
        @staticmethod
        def is_active() -> bool:
            return False


backends.backends["cpu"] = _Interpreter


def main() -> None:
    launch = launch_from([*sys.argv[1:], "--logits-processors", "workers.mllm.v2:PairedDecodingV2"])
    made = environment(launch, True, os.environ, sorted(os.sched_getaffinity(0)))
    os.environ.update(made | {"VLLM_USE_V2_MODEL_RUNNER": "1"})
    serve(arguments(launch, True), is_asynchronous=True)


if __name__ == "__main__":  # the engine's processes import this file again
    main()
