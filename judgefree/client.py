"""The typed HTTP client of the gateway. Synchronous and safe to share between threads."""

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from datetime import datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from types import TracebackType
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit
from uuid import uuid4

import httpx
from pydantic import Field

from judgefree.problems import ApiError, Unreachable, api_error, problem_of
from pairs.clock import now
from pairs.model import (
    RATIO_MIN,
    Decision,
    GroundingMethod,
    MaxTokens,
    Method,
    Pair,
    PairId,
    Ratio,
    Seed,
    Status,
    Temperature,
    TopK,
    TopP,
    Value,
    Verdict,
)

_BUSY = (httpx.codes.TOO_MANY_REQUESTS, httpx.codes.SERVICE_UNAVAILABLE)
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.2, 10.0
_LONGEST_POLL_S = 2.0
_LOOPBACK = {"127.0.0.1", "localhost", "::1"}

Image = bytes | Path


class Fields(Value):
    """What a request may say about its pairs; what it leaves out is the gateway's to choose."""

    prompt: str | None = None
    method: Method | None = None
    ratio: Ratio | None = None
    ratio_mean: Ratio | None = None
    ratio_std: Annotated[float, Field(ge=0, le=2)] | None = None
    grounding: GroundingMethod | None = None
    grounding_ratio: Annotated[float, Field(ge=RATIO_MIN, lt=0)] | None = None
    adapter: str | None = None
    max_tokens: MaxTokens | None = None
    temperature: Temperature | None = None
    top_p: TopP | None = None
    top_k: TopK | None = None
    seed: Seed | None = None

    def form(self) -> dict[str, str]:
        """The form fields of `POST /v1/pairs`."""
        given = self.model_dump(exclude_none=True, mode="json")
        return {_FORM_NAMES.get(name, name): str(value) for name, value in given.items()}


_FORM_NAMES = {name: f"hallucination.{name}" for name in ("method", "ratio", "ratio_mean", "ratio_std")} | {
    "grounding": "grounding.method",
    "grounding_ratio": "grounding.ratio",
}


class Filters(Value):
    """Which finished pairs; None means any. `policy` is a model's name, or `model@adapter`."""

    decision: Decision | None = None
    min_margin: float | None = None
    policy: str | None = None
    since: datetime | None = None

    def query(self) -> dict[str, str]:
        return {name: str(value) for name, value in self.model_dump(exclude_none=True, mode="json").items()}


class Client:
    """A client of the gateway at `url`.

    A request that finds the gateway away, its queue full (429) or a part of it away (503) is repeated, after the time
    that the gateway asks for, until `patience_s` is over; every POST carries an idempotency key, so that repeating it
    never makes a second pair. Raises `ApiError` (with its `.problem`) for what the gateway refuses, of the class in
    `pairs.errors` that has the problem's type, and `Unreachable` when nothing answers.
    """

    def __init__(
        self,
        url: str = "http://127.0.0.1:8080",
        *,
        api_key: str | None = None,
        timeout_s: float = 60.0,
        patience_s: float = 60.0,
        connections: int = 100,
    ) -> None:
        headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._http = httpx.Client(
            base_url=url.rstrip("/"),
            headers=headers,
            timeout=timeout_s,
            limits=httpx.Limits(max_connections=connections, max_keepalive_connections=connections),
            trust_env=urlsplit(url).hostname not in _LOOPBACK,  # a proxy cannot reach this machine's own addresses
        )
        self._url = url
        self._timeout_s = timeout_s
        self._patience_s = patience_s
        self._closing = threading.Event()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the connections; threads that wait in this client raise Unreachable."""
        self._closing.set()
        self._http.close()

    def submit(
        self,
        images: Sequence[Image],
        fields: Fields | None = None,
        *,
        idempotency_key: str | None = None,
        wait_s: float = 0,
    ) -> list[Pair]:
        """One pair for each image, in order: finished ones if all are done within `wait_s`, else as far as they are."""
        files = [("image", (_name(image), _content(image))) for image in images]
        headers = {"Idempotency-Key": idempotency_key or str(uuid4())}
        if wait_s > 0:
            headers["Prefer"] = f"wait={int(wait_s)}"
        timeout = httpx.Timeout(self._timeout_s, read=self._timeout_s + wait_s)  # the gateway is silent while it waits
        form = (fields or Fields()).form()
        body = self._send("POST", "/v1/pairs", files=files, data=form, headers=headers, timeout=timeout).json()
        return [Pair.model_validate(pair) for pair in body["pairs"]]

    def get(self, pair_id: PairId | str) -> Pair:
        return Pair.model_validate(self._send("GET", f"/v1/pairs/{pair_id}").json())

    def wait(self, pair_id: PairId | str, timeout_s: float = 300) -> Pair:
        """The pair once it is done or has failed, asked for less and less often; TimeoutError after `timeout_s`."""
        deadline = time.monotonic() + timeout_s
        pause_s = _FIRST_PAUSE_S
        while (pair := self.get(pair_id)).status not in (Status.DONE, Status.FAILED):
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                raise TimeoutError(f"pair {pair_id} is {pair.status} after {timeout_s:g} s")
            self._pause(min(pause_s, left_s))
            pause_s = min(1.5 * pause_s, _LONGEST_POLL_S)
        return pair

    def list(self, filters: Filters | None = None, page: int = 100) -> Iterator[Pair]:
        """Every finished pair, newest first, fetched a `page` at a time."""
        query = (filters or Filters()).query() | {"limit": str(page)}
        while True:
            body = self._send("GET", "/v1/pairs", params=query).json()
            for pair in body["pairs"]:
                yield Pair.model_validate(pair)
            if body["next"] is None:
                return
            query["cursor"] = body["next"]

    def image(self, pair_id: PairId | str) -> bytes:
        """The stored image of a pair."""
        return self._send("GET", f"/v1/pairs/{pair_id}/image").content

    def review(self, pair_id: PairId | str, verdict: Verdict) -> Pair:
        """Set a person's verdict over the machine's."""
        return Pair.model_validate(
            self._send("PUT", f"/v1/pairs/{pair_id}/review", json={"verdict": verdict.value}).json()
        )

    def stats(self) -> dict[str, Any]:
        """The gateway's counts and rates, as `/v1/stats` gives them."""
        stats: dict[str, Any] = self._send("GET", "/v1/stats").json()
        return stats

    def export(self, file: Path, kind: Literal["parquet", "jsonl"] = "parquet", filters: Filters | None = None) -> int:
        """Write the export to `file`, whole or not at all; returns its size in bytes."""
        part = file.with_name(f"{file.name}.part")
        query = (filters or Filters()).query() | {"format": kind}
        try:
            streamed = self._send("GET", "/v1/export", params=query, is_streamed=True)
            with closing(streamed), part.open("wb") as out:
                for chunk in streamed.iter_bytes():
                    out.write(chunk)
            part.replace(file)
        except httpx.TransportError as error:
            raise self._unreachable() from error
        finally:
            part.unlink(missing_ok=True)
        return file.stat().st_size

    def _send(self, method: str, path: str, *, is_streamed: bool = False, **request: Any) -> httpx.Response:
        deadline = time.monotonic() + self._patience_s
        pause_s = _FIRST_PAUSE_S
        while True:
            try:
                response = self._http.send(self._http.build_request(method, path, **request), stream=is_streamed)
            except httpx.TransportError as error:
                if time.monotonic() + pause_s > deadline:
                    raise self._unreachable() from error
                self._pause(pause_s)
            else:
                if not response.is_error:
                    return response
                response.read()
                asked_s = retry_after_s(response.headers, pause_s)
                if response.status_code not in _BUSY or time.monotonic() + asked_s > deadline:
                    raise _error(response)
                self._pause(asked_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    def _pause(self, seconds: float) -> None:
        if self._closing.wait(seconds):
            raise self._unreachable()

    def _unreachable(self) -> Unreachable:
        return Unreachable(f"No gateway answers at {self._url}; start one with `judgefree up`.")


def retry_after_s(headers: Mapping[str, str], otherwise_s: float) -> float:
    """How long the server asks to wait (RFC 9110: seconds, or a date); `otherwise_s` where it does not say."""
    asked = headers.get("Retry-After", "").strip()
    if not asked:
        return otherwise_s
    try:
        return max(0.0, float(asked)) if asked.isdigit() else (parsedate_to_datetime(asked) - now()).total_seconds()
    except (ValueError, TypeError):
        return otherwise_s


def _error(response: httpx.Response) -> ApiError:
    try:
        body = response.json()
    except ValueError:
        body = None
    return api_error(problem_of(response.status_code, body))


def _name(image: Image) -> str:
    return image.name if isinstance(image, Path) else "image"


def _content(image: Image) -> bytes:
    return image.read_bytes() if isinstance(image, Path) else image
