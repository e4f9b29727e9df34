from collections.abc import Iterator

import pytest

from tests.conftest import free_port
from tests.e2e.stack import Stack, running_stack
from tests.processes import running_part

LORA_RANK = 16


@pytest.fixture(scope="module")
def stack(valkey_url: str, mllm_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The whole system on the demo world's weights, shared by the tests of a file."""
    with running_stack(tmp_path_factory.mktemp("stack"), valkey_url, mllm_url) as running:
        yield running


@pytest.fixture(scope="session")
def lora_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A vLLM that takes adapters of one at a time, so that the last slot is always an adapter's."""
    port, folder = free_port(), tmp_path_factory.mktemp("lora")
    own = {"MLLM_PORT": port, "MAX_LORA_RANK": LORA_RANK, "MAX_LORAS": 1, "DATA_DIR": folder}
    environment = {f"JUDGEFREE_{name}": str(value) for name, value in own.items()}
    url = f"http://127.0.0.1:{port}"
    with running_part("workers.mllm", [], environment, f"{url}/health", folder / "mllm.log", timeout_s=240):
        yield url
