"""The client that a command talks to its gateway with."""

from judgefree.client import Client
from judgefree.launcher.parts import base_url
from pairs.settings import Settings


def open_client(settings: Settings, url: str | None = None, patience_s: float = 0) -> Client:
    """A client of the gateway at `url`, or of the one that the settings describe."""
    key = settings.api_keys[0] if settings.api_keys else None
    return Client(url or base_url(settings.host, settings.port), api_key=key, patience_s=patience_s)
