"""The whole system from its real parts, each a process that a test may kill."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self
from uuid import uuid4

import httpx

from tests.conftest import free_port
from tests.processes import Part, start_part


@dataclass
class Stack:
    """A gateway and a verifier on a Valkey and a vLLM that others may share; all of it in a folder of its own."""

    environment: dict[str, str]
    folder: Path
    gateway_url: str
    verifier_url: str
    gateway: Part
    verifier: Part

    @classmethod
    def start(cls, folder: Path, valkey_url: str, mllm_url: str, **settings: object) -> Self:
        folder.mkdir(parents=True, exist_ok=True)
        gateway_port, verifier_port = free_port(), free_port()
        own: dict[str, object] = {
            "redis_url": valkey_url,
            "mllm_url": mllm_url,
            "data_dir": folder / "data",
            "namespace": f"e2e-{uuid4().hex}",
            "port": gateway_port,
            "verifier_port": verifier_port,
            "max_tokens": 96,
            **settings,
        }
        environment = {f"JUDGEFREE_{name.upper()}": str(value) for name, value in own.items()}
        urls = f"http://127.0.0.1:{gateway_port}", f"http://127.0.0.1:{verifier_port}"
        verifier = _start_verifier(environment, urls[1], folder)
        gateway = _start_gateway(environment, urls[0], folder)
        stack = cls(environment, folder, *urls, gateway, verifier)
        try:
            verifier.wait_until_ready()
            gateway.wait_until_ready()
        except BaseException:
            stack.end()
            raise
        return stack

    def restart_gateway(self) -> None:
        self.gateway = _start_gateway(self.environment, self.gateway_url, self.folder)

    def restart_verifier(self) -> None:
        self.verifier = _start_verifier(self.environment, self.verifier_url, self.folder)

    def client(self) -> httpx.Client:
        return httpx.Client(base_url=self.gateway_url, timeout=90, verify=False)  # certificates take 25 ms to read

    def end(self) -> None:
        for part in (self.gateway, self.verifier):
            if part.process.poll() is None:
                part.end()


@contextmanager
def running_stack(folder: Path, valkey_url: str, mllm_url: str, **settings: object) -> Iterator[Stack]:
    stack = Stack.start(folder, valkey_url, mllm_url, **settings)
    try:
        yield stack
    finally:
        stack.end()


def _start_gateway(environment: dict[str, str], url: str, folder: Path) -> Part:
    return start_part("service", [], environment, f"{url}/readyz", folder / "gateway.log")


def _start_verifier(environment: dict[str, str], url: str, folder: Path) -> Part:
    return start_part("workers.clip", [], environment, f"{url}/readyz", folder / "verifier.log")
