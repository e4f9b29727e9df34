"""How long each part takes from the start of its process until it is ready, started as `judgefree up` starts it.

python -m benchmarks.start_up
"""

import argparse
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median

from benchmarks.machine import write_result
from judgefree.demonstration import free_ports
from judgefree.launcher.environment import part_environment
from judgefree.launcher.parts import answers, gateway, mllm, valkey, verifier
from judgefree.launcher.shares import thread_shares
from judgefree.launcher.stack import Part
from pairs.settings import Settings, load_settings

_LONGEST_S = 600
_LONGEST_END_S = 60
_THREADS = thread_shares(len(os.sched_getaffinity(0)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    seconds: dict[str, list[float]] = {}
    for _ in range(rounds):
        for name, taken in one_round().items():
            seconds.setdefault(name, []).append(round(taken, 2))
    medians = {name: median(taken) for name, taken in seconds.items()}
    print(write_result("start_up", {"rounds": rounds, "seconds": seconds, "median_s": medians}))


def one_round() -> dict[str, float]:
    """Seconds from start to readiness of each part, one after the other, the earlier ones running."""
    found = {}
    with tempfile.TemporaryDirectory() as folder, ExitStack() as running:
        for part in _parts(Path(folder)):
            begun = time.monotonic()
            running.enter_context(_running(part, Path(folder)))
            found[part.name] = time.monotonic() - begun
    return found


def _parts(folder: Path) -> Iterator[Part]:
    settings = _settings(folder)
    no_file = folder / "parts.toml"
    no_file.touch()
    environment = part_environment(settings, no_file)
    yield valkey(settings)
    yield mllm(settings.mllm_urls[0], environment, _THREADS.mllm_threads)
    yield verifier(settings, environment, _THREADS.verifier_threads)
    yield gateway(settings, environment)


def _settings(folder: Path) -> Settings:
    ports = free_ports(4)
    return load_settings(
        data_dir=folder,
        redis_url=f"redis://127.0.0.1:{ports[0]}/0",
        mllm_port=ports[1],
        mllm_url=f"http://127.0.0.1:{ports[1]}",
        verifier_port=ports[2],
        port=ports[3],
    )


@contextmanager
def _running(part: Part, folder: Path) -> Iterator[None]:
    """The part, ready. Raises RuntimeError when it ends instead."""
    with (folder / f"{part.name}.log").open("wb") as log:
        process = subprocess.Popen(part.command, env=part.environment, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + _LONGEST_S
        while not answers(part.probe):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{part.title} is not ready (status {process.poll()}).")
            time.sleep(0.05)
        yield
    finally:
        process.terminate()
        try:
            process.wait(_LONGEST_END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


if __name__ == "__main__":
    main()
