"""Who may call: API keys, when any are configured."""

import hmac

from fastapi import Request

from pairs.errors import Forbidden, Unauthenticated


async def check_key(request: Request) -> None:
    """Raise Unauthenticated without a key, Forbidden with an unknown one; pass all when none is configured."""
    keys: tuple[str, ...] = request.app.state.settings.api_keys
    if not keys:
        return
    given = _given_key(request)
    if given is None:
        raise Unauthenticated("Send the API key as `Authorization: Bearer KEY` or `X-API-Key: KEY`.")
    matches = [hmac.compare_digest(given.encode(), key.encode()) for key in keys]  # all of them: no early way out
    if not any(matches):
        raise Forbidden("The API key is not known here.")


def _given_key(request: Request) -> str | None:
    scheme, _, credentials = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and credentials.strip():
        return credentials.strip()
    return request.headers.get("x-api-key")
