from collections.abc import Iterator

import pytest

from tests.e2e.stack import Stack, running_stack


@pytest.fixture(scope="module")
def stack(valkey_url: str, mllm_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The whole system on the demo world's weights, shared by the tests of a file."""
    with running_stack(tmp_path_factory.mktemp("stack"), valkey_url, mllm_url) as running:
        yield running
