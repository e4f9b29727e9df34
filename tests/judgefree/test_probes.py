"""What a probe does when it is broken off."""

import os
import signal
import socket
from collections.abc import Iterator
from threading import Timer

import pytest

from judgefree.launcher.parts import answers
from judgefree.launcher.probes import HttpProbe, RedisProbe


@pytest.fixture
def silent_port() -> Iterator[int]:
    """Of one who takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.mark.parametrize("kind", [RedisProbe, HttpProbe])
def test_ctrl_c_during_a_probe_is_not_lost(kind: type[RedisProbe | HttpProbe], silent_port: int) -> None:
    scheme = "redis" if kind is RedisProbe else "http"
    interruption = Timer(0.2, os.kill, (os.getpid(), signal.SIGINT))
    interruption.start()
    with pytest.raises(KeyboardInterrupt):
        answers(kind(f"{scheme}://127.0.0.1:{silent_port}/0"))
    interruption.join()
