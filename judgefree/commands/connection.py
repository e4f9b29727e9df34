"""The client that a command talks to its gateway with."""

import httpx

from judgefree.client import Client
from judgefree.launcher.parts import base_url
from judgefree.mistakes import Mistake
from pairs.settings import Settings


def open_client(settings: Settings, url: str | None = None, patience_s: float = 0) -> Client:
    """A client of the gateway at `url`, or of the one that the settings describe. Raises Mistake for what is no URL."""
    key = settings.api_keys[0] if settings.api_keys else None
    where = url or base_url(settings.host, settings.port)
    try:
        named = httpx.URL(where)
        if named.scheme not in ("http", "https") or not named.host:
            raise Mistake(f"{where} is no URL of a gateway; one looks like http://127.0.0.1:8080.")
        return Client(where, api_key=key, patience_s=patience_s)
    except (httpx.InvalidURL, ValueError) as error:
        raise Mistake(f"{where} is no URL of a gateway: {error}") from error
