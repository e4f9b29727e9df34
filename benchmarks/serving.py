"""A vLLM that a benchmark starts for itself."""

import os
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import httpx

from judgefree.launcher.shares import thread_shares

MLLM_THREADS = thread_shares(len(os.sched_getaffinity(0))).mllm_threads
"""The threads that `judgefree up` gives the model on this machine."""


@contextmanager
def serving(command: Sequence[str], environ: Mapping[str, str], port: int) -> Iterator[str]:
    """The base URL of the vLLM that `command` starts on `port`, until the block is left.

    Raises RuntimeError if it does not come up.
    """
    process = subprocess.Popen(command, env=environ)
    try:
        url = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + 300
        while not _is_up(url):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"vLLM did not come up (status {process.poll()}).")
            time.sleep(0.5)
        yield url
    finally:
        process.terminate()
        process.wait(60)


def _is_up(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health", timeout=5).is_success
    except httpx.TransportError:
        return False
