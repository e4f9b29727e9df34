"""The gateway as a user sees it: each request made once, named for the report, and told apart into outcomes."""

import json
import ssl
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from time import perf_counter
from typing import Any

from locust.contrib.fasthttp import FastHttpSession, ResponseContextManager
from locust.event import EventHook
from urllib3 import encode_multipart_formdata

from loadtests.ledger import Outcome

BUSY = (429, 503)
_ASIDE_S = 30.0
"""How long a request may take beyond what it asks the gateway to wait."""


@dataclass(frozen=True)
class Answer:
    """`status` is 0 where nothing answered; `body` is what the JSON said, None for what is not JSON; of an image, its
    bytes."""

    status: int
    outcome: Outcome
    body: Any = None
    retry_after_s: float | None = None


def _json(content: bytes | None) -> Any:
    try:
        return json.loads(content or b"")
    except ValueError:
        return None


def _as_it_is(content: bytes | None) -> bytes:
    return content or b""


class Gateway:
    """One user's connections. `event` is told of every request (locust's statistics), `count` of its outcome."""

    def __init__(
        self, host: str, api_key: str | None, event: EventHook, count: Callable[[Outcome], None], connections: int = 4
    ) -> None:
        self.host = host.rstrip("/")
        self.headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._count = count
        self._http = FastHttpSession(
            self.host,
            event,
            user=None,
            insecure=False,
            max_retries=0,
            ssl_context_factory=ssl.create_default_context,
            connection_timeout=_ASIDE_S,
            network_timeout=2 * _ASIDE_S + 60,
            concurrency=connections,
        )

    def post(
        self, images: Sequence[bytes], fields: Mapping[str, str], key: str, wait_s: int = 0, name: str = "POST"
    ) -> Answer:
        """Submit images under an idempotency key."""
        files = [("image", ("image", image, "application/octet-stream")) for image in images]
        body, content_type = encode_multipart_formdata([*fields.items(), *files])
        headers = {"Content-Type": content_type, "Idempotency-Key": key, **_prefer(wait_s)}
        return self.ask("POST", "/v1/pairs", name=f"/v1/pairs {name}", expected=(200, 202), data=body, headers=headers)

    def pair(self, pair_id: str, wait_s: int = 0) -> Answer:
        name = "/v1/pairs/{id}" + (" waiting" if wait_s else "")
        return self.ask("GET", f"/v1/pairs/{pair_id}", name=name, headers=_prefer(wait_s))

    def image(self, pair_id: str) -> Answer:
        """The file of a pair's image."""
        return self.ask("GET", f"/v1/pairs/{pair_id}/image", name="/v1/pairs/{id}/image", read=_as_it_is)

    def page(self, since: str | None = None, cursor: str | None = None, limit: int = 50) -> Answer:
        """A page of finished pairs, newest first."""
        given = {"limit": str(limit), "since": since, "cursor": cursor}
        query = {name: value for name, value in given.items() if value is not None}
        return self.ask("GET", "/v1/pairs", name="/v1/pairs list", params=query)

    def review(self, pair_id: str, verdict: str) -> Answer:
        path, said = f"/v1/pairs/{pair_id}/review", {"verdict": verdict}
        return self.ask("PUT", path, name="/v1/pairs/{id}/review", json=said)

    def ask(
        self,
        method: str,
        path: str,
        name: str,
        expected: Collection[int] = (200,),
        read: Callable[[bytes | None], Any] = _json,
        **request: Any,
    ) -> Answer:
        """Make one request; what is in `expected` is ok, 429 and 503 are busy, all else is an error."""
        with self._open(method, path, name, **request) as response:
            status = response.status_code
            body = read(response.content)
            outcome: Outcome = "ok" if status in expected else "busy" if status in BUSY else "error"
            if outcome == "error":
                response.failure(_said(status, body, response.request_meta["exception"]))
            else:
                response.success()
            if outcome == "busy":
                response.request_meta["name"] = f"{name} ({status})"
            asked = str(response.headers.get("Retry-After", "")) if response.headers else ""
        self._count(outcome)
        return Answer(status, outcome, body, float(asked) if asked.isdigit() else None)

    def download(
        self, path: str, params: Mapping[str, str], name: str, is_whole: Callable[[bytes, bytes], bool]
    ) -> int:
        """Read a long answer to its end; returns its bytes. `is_whole` judges by its first and last 8 bytes."""
        began = perf_counter()
        with self._open("GET", path, name, stream=True, params=dict(params)) as response:
            first, last, size = b"", b"", 0
            for chunk in self._chunks(response):
                first, last, size = (first + chunk)[:8], (last + chunk)[-8:], size + len(chunk)
            is_good = response.status_code == 200 and is_whole(first, last)
            response.request_meta["response_length"] = size
            response.request_meta["response_time"] = 1000 * (perf_counter() - began)
            if is_good:
                response.success()
            else:
                response.failure(f"HTTP {response.status_code}, {size} bytes that are no whole export")
        self._count("ok" if is_good else "error")
        return size

    @contextmanager
    def _open(self, method: str, path: str, name: str, **request: Any) -> Iterator[ResponseContextManager]:
        headers = self.headers | request.pop("headers", {})
        with self._http.request(method, path, name=name, catch_response=True, headers=headers, **request) as response:
            yield response

    def _chunks(self, response: ResponseContextManager) -> Iterator[bytes]:
        if response.status_code == 200:
            yield from response.iter_content(2**16, decode_content=False)


def _prefer(wait_s: int) -> dict[str, str]:
    return {"Prefer": f"wait={wait_s}"} if wait_s > 0 else {}


def _said(status: int, body: Any, error: Exception | None) -> str:
    """A failure in a few words, the same for the same cause: locust counts them by it."""
    if not status:
        return f"no answer: {type(error).__name__}"
    problem = body.get("type", "") if isinstance(body, dict) else ""
    return f"HTTP {status} {problem.rpartition(':')[2]}".strip()
