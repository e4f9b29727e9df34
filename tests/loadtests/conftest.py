from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.stack import Stack, running_stack
from tests.loadtests.program import Loadtest


@pytest.fixture(scope="session")
def stack(valkey_url: str, mllm_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The whole system, shared by the files that one test process has: a load test counts its own pairs alone."""
    with running_stack(tmp_path_factory.mktemp("loaded"), valkey_url, mllm_url) as running:
        yield running


@pytest.fixture
def loadtest(stack: Stack, tmp_path: Path, request: pytest.FixtureRequest) -> Loadtest:
    """With the PROFILES of the test's file."""
    profiles: str = request.module.PROFILES
    return Loadtest(stack, tmp_path, profiles)
