"""vLLM's servers as forks of one process that has imported vLLM: real ones, for a sixth of the processor time.

Such a server is what `python -m workers.mllm` becomes: the same arguments and environment, vLLM's own HTTP server, the
engine in a process of its own. Only the imports are shared, a dozen seconds of a core in each of the two processes.
"""

import multiprocessing
import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Literal

from tests.conftest import free_port
from tests.mllm.on_a_cpu import serve
from tests.mllm.server import START_TIMEOUT_S, MllmServer
from tests.processes import answers
from workers.mllm.__main__ import launch_from
from workers.mllm.launch import arguments, environment

Mode = Literal["synchronous", "asynchronous", "plain"]
"""How it schedules: as our launcher has it on a CPU, as a GPU would have it, or as vLLM does without our two classes.

Asynchronous servers log in full, the plain one is synchronous.
"""

IMPORTED = (
    "vllm.entrypoints.launchers.api_server.entry",
    "vllm.entrypoints.openai.api_server",
    "vllm.model_executor.models.llava",
    "vllm.v1.engine.core",
    "vllm.v1.worker.cpu_worker",
    "workers.mllm.processor",
    "workers.mllm.scheduler",
)
"""What the processes of a server import."""


@contextmanager
def forked(model: Path | str, *flags: str, log: Path, mode: Mode = "synchronous") -> Iterator[MllmServer]:
    """`python -m workers.mllm --model MODEL FLAGS` on a free port, until the block is left.

    Raises RuntimeError with the end of the log when the server ends or is not up within START_TIMEOUT_S.
    """
    server = MllmServer(f"http://127.0.0.1:{(port := free_port())}", "mllm")
    given = ["--model", str(model), "--served-model-name", server.model, "--port", str(port), *flags]
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(IMPORTED))
    process = context.Process(target=_become_server, args=(given, mode, log))
    process.start()
    try:
        _wait_until_ready(process, server, log)
        if mode == "asynchronous":
            assert "Batch queue is enabled" in log.read_text()
        yield server
    finally:
        process.terminate()
        process.join(30)
        with suppress(ProcessLookupError):
            os.killpg(process.pid or 0, signal.SIGKILL)
        process.join()


def _wait_until_ready(process: ForkServerProcess, server: MllmServer, log: Path) -> None:
    if answers(f"{server.url}/health", START_TIMEOUT_S, process.is_alive):
        return
    tail = log.read_text(errors="replace").splitlines()[-30:] if log.exists() else []
    raise RuntimeError("\n".join([f"{server.url} is not ready; exit status {process.exitcode}:", *tail]))


def _become_server(given: Sequence[str], mode: Mode, log: Path) -> None:
    """In the fork, with a process group of its own."""
    os.setsid()
    with log.open("ab") as output:
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
    for name in [name for name in os.environ if name.startswith("JUDGEFREE_")]:
        del os.environ[name]
    launch = launch_from(list(given))
    os.environ.update(environment(launch, True, os.environ, sorted(os.sched_getaffinity(0))))
    told = arguments(launch, True)
    if mode == "asynchronous":
        os.environ["VLLM_LOGGING_LEVEL"] = "DEBUG"
    if mode == "plain":
        for flag in ("--scheduler-cls", "--logits-processors"):
            at = told.index(flag)
            del told[at : at + 2]
    serve(told, is_asynchronous=mode == "asynchronous", is_forking=True)
