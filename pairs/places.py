"""Where vLLM's replicas are: the URLs of the setting `mllm_url`, and each of the addresses behind a URL's name."""

import socket
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import urlsplit

from pairs.errors import SettingsError

_NOT_THERE = (socket.EAI_NONAME, socket.EAI_NODATA)
"""The name has no address now, as a Service without a ready pod; any other error is the resolver's own trouble."""


@dataclass(frozen=True)
class Place:
    """Where a replica is: its base URL, and the one address behind the URL's name, or whichever of them answers."""

    url: str
    address: str | None = None

    def __str__(self) -> str:
        return self.url if self.address is None else f"{self.url} at {self.address}"


def places_of(url: str, found: Sequence[tuple[int, str]]) -> tuple[Place, ...]:
    """The places behind `url` whose name has the addresses `found`, each with its family, the preferred ones first.

    A host may have addresses of two families, so only those of the preferred family count as replicas. Where neither
    has a second one there is one replica, which is reached by whichever of them answers.
    """
    families: dict[int, dict[str, None]] = {}
    for family, address in found:
        families.setdefault(family, {})[address] = None
    if len(families) > 1 and all(len(addresses) == 1 for addresses in families.values()):
        return (Place(url),)
    preferred = next(iter(families.values()), {})
    return tuple(Place(url, address) for address in preferred)


def is_name(url: str) -> bool:
    """Whether the URL's host is a name, which may come to have other addresses."""
    try:
        ip_address(urlsplit(url).hostname or "")
    except ValueError:
        return True
    return False


def look_up(url: str) -> tuple[Place, ...]:
    """The places behind `url` now, none for a name without an address; waits for the resolver.

    Raises OSError when the name cannot be looked up just now.
    """
    if not is_name(url):
        return (Place(url),)
    try:
        found = socket.getaddrinfo(urlsplit(url).hostname, None, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        if error.errno in _NOT_THERE:
            return ()
        raise
    except UnicodeError:  # a label too long or empty
        return ()
    return places_of(url, [(family, str(address[0])) for family, _, _, _, address in found])


def only_replica(urls: Sequence[str]) -> str:
    """The URL of the only replica, for what cannot be spread over several; raises SettingsError where there are."""
    try:
        count = sum(max(1, len(look_up(url))) for url in urls)
    except OSError:  # whoever asks there will say that nothing answers
        count = len(urls)
    if count > 1:
        raise SettingsError(
            f"setting mllm_url stands for {count} replicas of vLLM, and this needs one: give it the URL of one."
        )
    return urls[0]
