"""What each image holds and how long it takes to start, without a container engine (tools/images).

python -m benchmarks.images; then python -m tools.images.page puts the table into docs/containers.md. A server is ready
when its readiness page answers, a program that ends when it has printed its help.
"""

import os
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from benchmarks.machine import write_result
from judgefree.demonstration import free_ports
from judgefree.launcher.parts import answers, valkey
from judgefree.launcher.probes import HttpProbe, RedisProbe
from pairs.settings import load_settings
from tools.images import dockerfile, tree
from tools.images.container import Container, obstacle

_LONGEST_S = 300
SERVERS = {
    "workers/mllm/Dockerfile.cpu": ("JUDGEFREE_MLLM_PORT", "/health"),
    "workers/clip/Dockerfile": ("JUDGEFREE_VERIFIER_PORT", "/readyz"),
    "service/Dockerfile": ("JUDGEFREE_PORT", "/readyz"),
}
"""Of each server, in the order in which they are started: the setting of its port, and its readiness page."""
PROGRAMS = {"trainer/Dockerfile": ["train", "--help"], "loadtests/Dockerfile": ["--help"]}


def main() -> None:
    if (reason := obstacle()) is not None:
        raise SystemExit(f"No container can be started here: {reason}.")
    with tempfile.TemporaryDirectory() as folder:
        containers = _containers(Path(folder))
        seconds = _servers(containers, Path(folder)) | {path: _ended(containers[path]) for path in PROGRAMS}
        found = {path: _described(one) | {"ready_s": round(seconds[path], 1)} for path, one in containers.items()}
    print(write_result("images", {"cores": len(os.sched_getaffinity(0)), "images": found}))


def _containers(root: Path) -> dict[str, Container]:
    package, found = tree.package(root), {}
    for number, path in enumerate((*SERVERS, *PROGRAMS)):
        image = dockerfile.read(path)
        app = tree.grow(root / f"app-{number}", tree.names(image), package)
        found[path] = Container(image, app, root / f"container-{number}")
    return found


def _described(container: Container) -> dict[str, int]:
    return {"distributions": len(container.tree.names) + 1, "bytes": container.tree.size}


def _servers(containers: Mapping[str, Container], root: Path) -> dict[str, float]:
    """The seconds until each is ready, one after the other, the earlier ones running."""
    queue_port, *ports = free_ports(1 + len(SERVERS))
    given = {name: str(port) for (name, _), port in zip(SERVERS.values(), ports, strict=True)}
    part = valkey(load_settings(data_dir=root, redis_url=f"redis://127.0.0.1:{queue_port}/0"))
    environment = given | {
        "JUDGEFREE_REDIS_URL": f"redis://127.0.0.1:{queue_port}/0",
        "JUDGEFREE_MLLM_URL": f"http://127.0.0.1:{given['JUDGEFREE_MLLM_PORT']}",
        "OMP_NUM_THREADS": "1",
    }
    found = {}
    with ExitStack() as running, (root / "log").open("wb") as log:
        running.enter_context(_ready(subprocess.Popen(part.command, stdout=log), part.probe))
        for path, (name, page) in SERVERS.items():
            process = containers[path].start(containers[path].image.entrypoint, environment, log)
            probe = HttpProbe(f"http://127.0.0.1:{given[name]}{page}")
            found[path] = running.enter_context(_ready(process, probe))
    return found


@contextmanager
def _ready(process: "subprocess.Popen[bytes]", probe: HttpProbe | RedisProbe) -> Iterator[float]:
    """The process that was just started, ready; the seconds that it took. Raises RuntimeError when it ends instead."""
    begun = time.monotonic()
    try:
        while not answers(probe):
            if process.poll() is not None or time.monotonic() > begun + _LONGEST_S:
                raise RuntimeError(f"{process.args!r} is not ready (status {process.poll()}).")
            time.sleep(0.05)
        yield time.monotonic() - begun
    finally:
        process.terminate()
        process.wait(60)


def _ended(container: Container) -> float:
    begun = time.monotonic()
    status, said = container.run([*container.image.entrypoint, *PROGRAMS[container.image.path]], {})
    if status:
        raise RuntimeError(f"{container.image.path} ended with {status}:\n{said}")
    return time.monotonic() - begun


if __name__ == "__main__":
    main()
