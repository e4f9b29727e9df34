"""How the bad client takes what a gateway does to a request sent by hand."""

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Thread

import pytest

from loadtests.bad import head, send_by_hand


@contextmanager
def a_server(answer: Callable[[socket.socket], None]) -> Iterator[str]:
    """A real one, for one request; its connection is open for as long as the block lasts, unless `answer` ends it."""
    accepted: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            accepted.append(listening.accept()[0])
            accepted[0].recv(2**16)
            answer(accepted[0])

        serving = Thread(target=serve)
        serving.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        serving.join()
        for connection in accepted:
            connection.close()


def test_an_answer_is_told_with_its_body() -> None:
    def refuse(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 415 Unsupported Media Type\r\n\r\nno image")
        connection.close()

    with a_server(refuse) as host:
        assert send_by_hand(host, [head(host, {})], 0) == (415, b"no image")


def test_to_be_thrown_out_without_an_answer_is_to_be_refused() -> None:
    with a_server(lambda connection: connection.close()) as host:
        assert send_by_hand(host, [head(host, {})], 0) == (0, b"")


def test_a_gateway_that_stays_silent_has_not_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("loadtests.bad._TIMEOUT_S", 0.2)
    with a_server(lambda _: None) as host:
        assert send_by_hand(host, [head(host, {})], 0) == (-1, b"")
