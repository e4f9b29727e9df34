"""One vLLM with the demo model for the whole run, the reference beside it, and scenes to ask both about."""

from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio
from PIL import Image

from demo.scenes import draw_scenes, pixels_of
from pairs.settings import local_model
from tests.mllm.client import Client, client_of
from tests.mllm.server import MllmServer, serving
from workers.mllm.reference import TwoPass

TWIN_WAIT_S = 15.0
LONG_TOKENS = 16_000
"""More than a server answers while a client that hangs up goes unnoticed, however busy the machine."""

_LONG_CONTEXT = ("--hf-overrides", '{"text_config": {"max_position_embeddings": 16384}}')
"""The demo model knows 512 positions; past them it babbles, which serves where an answer need only go on."""


@pytest.fixture(scope="session")
def mllm_folder() -> str:
    return local_model("demo", "mllm")


@pytest.fixture(scope="session")
def mllm_server(mllm_folder: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MllmServer]:
    log = tmp_path_factory.mktemp("mllm") / "vllm.log"
    with serving(mllm_folder, "--twin-wait-s", str(TWIN_WAIT_S), *_LONG_CONTEXT, log=log) as server:
        yield server


@pytest.fixture(scope="session")
def asynchronous_server(mllm_folder: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MllmServer]:
    """As `mllm_server`, with the asynchronous scheduling that vLLM uses on GPUs."""
    log = tmp_path_factory.mktemp("asynchronous") / "vllm.log"
    flags = ["--twin-wait-s", str(TWIN_WAIT_S), *_LONG_CONTEXT]
    verbose = {"VLLM_LOGGING_LEVEL": "DEBUG"}
    with serving(mllm_folder, *flags, log=log, module="tests.mllm.asynchronous", environment=verbose) as server:
        assert "Batch queue is enabled" in log.read_text()
        yield server


@pytest_asyncio.fixture(params=["synchronous", "asynchronous"])
async def any_mllm(request: pytest.FixtureRequest) -> AsyncIterator[Client]:
    """A client of a server with each of vLLM's two ways to schedule."""
    name = "mllm_server" if request.param == "synchronous" else "asynchronous_server"
    async with client_of(request.getfixturevalue(name)) as client:
        yield client


@pytest_asyncio.fixture
async def mllm(mllm_server: MllmServer) -> AsyncIterator[Client]:
    async with client_of(mllm_server) as client:
        yield client


@pytest.fixture(scope="session")
def reference(mllm_folder: str) -> TwoPass:
    return TwoPass(mllm_folder)


@pytest.fixture(scope="session")
def scenes() -> list[Image.Image]:
    """Unseen demo scenes, in distribution and theme-breaking."""
    splits = (draw_scenes(split, 11, range(12)) for split in ("in_distribution", "theme_breaking"))
    return [Image.fromarray(pixels_of(scene)) for drawn in splits for scene in drawn]
