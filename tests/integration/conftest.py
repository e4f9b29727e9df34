from collections.abc import AsyncIterator

import pytest

from tests.conftest import MakeSettings
from tests.service.conftest import Served, serving


@pytest.fixture
async def working(make_settings: MakeSettings, mllm_url: str) -> AsyncIterator[Served]:
    """A gateway on a real vLLM with the demo's model. No verifier runs: its work is seen on the stream."""
    async with serving(make_settings(mllm_url=mllm_url, max_tokens=64)) as running:
        yield running
