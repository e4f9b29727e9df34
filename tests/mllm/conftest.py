"""One vLLM with the demo model for the whole run, the reference beside it, and scenes to ask both about."""

from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio
from PIL import Image

from demo.scenes import draw_scenes, pixels_of
from pairs.settings import local_model
from tests.mllm.client import Client, client_of
from tests.mllm.forked import forked
from tests.mllm.server import MllmServer, serving
from workers.mllm.reference import Decoded, TwoPass

TWIN_WAIT_S = 15.0
LONG_TOKENS = 16_000
"""More than a server answers while a client that hangs up goes unnoticed, however busy the machine."""

_LONG_CONTEXT = ("--hf-overrides", '{"text_config": {"max_position_embeddings": 16384}}')
"""The demo model knows 512 positions; past them it babbles, which serves where an answer need only go on."""


class Remembered(TwoPass):
    """The reference, which works each answer out once: several servers are asked for the same ones."""

    def __init__(self, folder: str) -> None:
        super().__init__(folder)
        self._known: dict[tuple[str, bytes, float, int], Decoded] = {}

    def answer(self, prompt: str, image: Image.Image, ratio: float, max_tokens: int) -> Decoded:
        asked = (prompt, image.tobytes(), ratio, max_tokens)
        if asked not in self._known:
            self._known[asked] = super().answer(prompt, image, ratio, max_tokens)
        return self._known[asked]


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
    with forked(mllm_folder, *flags, log=log, mode="asynchronous") as server:
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
    return Remembered(mllm_folder)


@pytest.fixture(scope="session")
def scenes() -> list[Image.Image]:
    """Unseen demo scenes, in distribution and theme-breaking."""
    splits = (draw_scenes(split, 11, range(12)) for split in ("in_distribution", "theme_breaking"))
    return [Image.fromarray(pixels_of(scene)) for drawn in splits for scene in drawn]
