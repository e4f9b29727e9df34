"""One real vLLM server, started as a user would start it, and ended with everything it started."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from tests.conftest import free_port
from tests.processes import running_part

START_TIMEOUT_S = 240


@dataclass(frozen=True)
class MllmServer:
    """A server that is up: its base URL, the model's name in requests, and the images of requests broken off."""

    url: str
    model: str
    broken_off: set[str] = field(default_factory=set)

    def metric(self, name: str) -> float:
        """The sum of a Prometheus metric over its labels. Raises KeyError when the server has none of that name."""
        samples = [line.rsplit(" ", 1) for line in httpx.get(f"{self.url}/metrics", timeout=30).text.splitlines()]
        found = [float(value) for series, value in samples if series.split("{")[0] == name]
        if not found:
            raise KeyError(f"{self.url}/metrics has no {name}")
        return sum(found)


@contextmanager
def serving(
    model: Path | str,
    *flags: str,
    log: Path,
    environment: Mapping[str, str] | None = None,
    module: str = "workers.mllm",
) -> Iterator[MllmServer]:
    """`python -m MODULE --model MODEL FLAGS` on a free port, until the block is left.

    Raises RuntimeError with the end of the log when the server ends or is not up within START_TIMEOUT_S.
    """
    url = f"http://127.0.0.1:{(port := free_port())}"
    given = ["--model", str(model), "--served-model-name", "mllm", "--port", str(port), *flags]
    with running_part(module, given, environment or {}, f"{url}/health", log, START_TIMEOUT_S):
        yield MllmServer(url, "mllm")
