"""A name stands for all its addresses, a host with two kinds of address for itself."""

from socket import AF_INET, AF_INET6

import pytest

from pairs.errors import SettingsError
from pairs.places import Place, is_name, look_up, only_replica, places_of

URL = "http://mllm:8000"


@pytest.mark.parametrize(
    ("found", "addresses"),
    [
        ([], []),
        ([(AF_INET, "10.0.0.1")], ["10.0.0.1"]),
        ([(AF_INET, "10.0.0.1"), (AF_INET, "10.0.0.2"), (AF_INET, "10.0.0.1")], ["10.0.0.1", "10.0.0.2"]),
        ([(AF_INET6, "::1"), (AF_INET, "127.0.0.1")], [None]),
        ([(AF_INET6, "fd::1"), (AF_INET, "10.0.0.1"), (AF_INET6, "fd::2")], ["fd::1", "fd::2"]),
        ([(AF_INET, "10.0.0.1"), (AF_INET, "10.0.0.2"), (AF_INET6, "fd::1")], ["10.0.0.1", "10.0.0.2"]),
    ],
)
def test_each_replica_behind_a_name_counts_once(found: list[tuple[int, str]], addresses: list[str | None]) -> None:
    assert places_of(URL, found) == tuple(Place(URL, address) for address in addresses)


@pytest.mark.parametrize(
    ("url", "is_one"),
    [(URL, True), ("http://localhost", True), ("http://127.0.0.1:8000", False), ("https://[::1]:8000", False)],
)
def test_an_address_is_no_name(url: str, is_one: bool) -> None:
    assert is_name(url) is is_one


def test_this_machine_is_one_replica() -> None:
    assert len(look_up("http://localhost:8000")) == 1
    assert look_up("http://127.0.0.1:8000") == (Place("http://127.0.0.1:8000"),)


def test_what_can_be_no_host_has_no_replica() -> None:
    assert look_up("http://a..b:8000") == ()


def test_what_needs_one_replica_refuses_several() -> None:
    assert only_replica(["http://127.0.0.1:8000"]) == "http://127.0.0.1:8000"
    with pytest.raises(SettingsError, match="mllm_url stands for 2 replicas of vLLM, and this needs one"):
        only_replica(["http://127.0.0.1:8000", "http://127.0.0.1:8001"])
