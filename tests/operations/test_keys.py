"""Keys are rotated while clients go on: nobody who does what the page says is refused."""

import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import httpx
import pytest
from redis import Redis

from pairs.errors import QueueUnavailable
from pairs.queue import Queue
from tests.conftest import free_port
from tests.operations.conftest import Deploy, Deployment
from tests.processes import Part, start_part

OLD, NEW = "the-old-key", "the-new-key"


class Client(threading.Thread):
    """Asks one gateway after another for the list of pairs, over and over, with one key; notes what it is answered."""

    def __init__(self, key: str, gateways: list[str]) -> None:
        super().__init__()
        self.key, self._gateways, self._is_ended = key, gateways, False
        self.answers: list[int] = []

    def run(self) -> None:
        with httpx.Client(timeout=10) as http:
            while not self._is_ended:
                for url in list(self._gateways):
                    try:
                        answer = http.get(f"{url}/v1/pairs", headers={"Authorization": f"Bearer {self.key}"})
                        self.answers.append(answer.status_code)
                    except httpx.TransportError:  # a balancer asks the next one
                        continue
                time.sleep(0.02)

    def end(self) -> list[int]:
        self._is_ended = True
        self.join()
        return self.answers


class Gateways:
    """A gateway behind a balancer that knows which one is ready, and whatever replaces it."""

    def __init__(self, deployment: Deployment, folder: Path) -> None:
        self._deployment, self._folder, self._parts = deployment, folder, list[Part]()
        self.ready: list[str] = []

    def roll_out(self, keys: str) -> None:
        """Start one that knows `keys`, and only then end the one that is there."""
        self.ready.append(self._start(keys))
        if len(self._parts) > 1:
            del self.ready[0]
            assert self._parts.pop(0).end() == 0

    def end(self) -> None:
        for part in self._parts:
            part.end()

    def _start(self, keys: str) -> str:
        port = free_port()
        url, log = f"http://127.0.0.1:{port}", self._folder / f"gateway-{port}.log"
        own = {"JUDGEFREE_API_KEYS": keys, "JUDGEFREE_PORT": str(port)}
        part = start_part("service", [], self._deployment.environment | own, f"{url}/healthz", log)
        self._parts.append(part)
        part.wait_until_ready()
        return url


@pytest.fixture
def deployment(deploy: Deploy) -> Deployment:
    return deploy(mllm_url=f"http://127.0.0.1:{free_port()}")


@pytest.fixture
def gateways(deployment: Deployment, tmp_path: Path) -> Iterator[Gateways]:
    running = Gateways(deployment, tmp_path)
    yield running
    running.end()


@contextmanager
def asking(key: str, gateways: Gateways) -> Iterator[Client]:
    client = Client(key, gateways.ready)
    client.start()
    try:
        yield client
    finally:
        client.end()


def test_an_api_key_is_rotated_without_a_client_that_is_refused(gateways: Gateways) -> None:
    gateways.roll_out(OLD)
    with asking(OLD, gateways) as before:
        gateways.roll_out(f"{OLD} {NEW}")
    with asking(NEW, gateways) as after:
        gateways.roll_out(NEW)
    for client in (before, after):
        assert set(client.answers) == {httpx.codes.OK}
        assert len(client.answers) > 20
    refused = httpx.get(f"{gateways.ready[0]}/v1/pairs", headers={"X-API-Key": OLD})
    assert refused.status_code == httpx.codes.FORBIDDEN


async def test_valkeys_password_is_rotated_under_an_open_connection(deployment: Deployment) -> None:
    url = deployment.settings.redis_url
    with_password = {word: url.replace("//", f"//:{word}@") for word in ("old", "new", "wrong")}
    with closing(Redis.from_url(url)) as operator:
        operator.acl_setuser("default", enabled=True, passwords=["+old"], nopass=False)
        old = await Queue.connect(deployment.settings.model_copy(update={"redis_url": with_password["old"]}))
        operator.acl_setuser("default", enabled=True, passwords=["+new"])
        new = await Queue.connect(deployment.settings.model_copy(update={"redis_url": with_password["new"]}))
        operator.acl_setuser("default", enabled=True, passwords=["-old"])
        await old.ping()  # a connection that is open stays so
        await new.ping()
        with pytest.raises(QueueUnavailable):
            await Queue.connect(deployment.settings.model_copy(update={"redis_url": with_password["wrong"]}))
    await old.close()
    await new.close()
