"""Answers of a served model about images, through vLLM's OpenAI API: many at a time, in the order of the questions."""

import asyncio
import base64
import json
import mimetypes
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any

from aiohttp import ClientError, ClientSession, ClientTimeout, SocketTimeoutError, TCPConnector

from pairs.ending import end
from pairs.errors import GenerationFailed, ModelUnavailable
from pairs.model import RawAnswer
from trainer.evaluation.errors import ModelNotServed, UnreadableDataSet

CONCURRENCY = 32
_CONNECT_S = 5.0
_IDLE_CONNECTION_S = 2.0
"""Well below the 5 s after which vLLM closes an idle connection: a request sent just then would be lost."""


@dataclass(frozen=True)
class Question:
    """A prompt about an image file, which is sent as it is."""

    image: Path
    prompt: str


@dataclass(frozen=True)
class Server:
    """A vLLM replica at a base URL. `timeout_s`: the longest wait for one answer; `concurrency`: most at a time."""

    url: str
    timeout_s: float = 300.0
    concurrency: int = CONCURRENCY


@dataclass(frozen=True)
class Decoding:
    """How answers are decoded: greedily unless `temperature` is above 0; `max_tokens` bounds an answer's length."""

    max_tokens: int
    temperature: float = 0.0
    seed: int = 0


def ask_all(
    server: Server,
    model: str,
    questions: Sequence[Question],
    decoding: Decoding,
    on_answer: Callable[[], None] = lambda: None,
) -> list[RawAnswer]:
    """The model's answers in the order of the questions; `model` is a served name, of a base model or an adapter.

    `on_answer` is called as each arrives. Raises ModelUnavailable when vLLM is away, ModelNotServed when it does not
    serve the model, UnreadableDataSet when an image cannot be read, GenerationFailed when one question cannot be
    answered. Call it outside an event loop.
    """
    _check_images(questions)
    return asyncio.run(_ask_all(server, model, questions, decoding, on_answer))


def served_name(server: Server, wanted: str | None) -> str:
    """The name to ask for: `wanted`, or the first base model that is served.

    Raises ModelUnavailable when vLLM is away, ModelNotServed when it does not serve what is wanted.
    """
    names = asyncio.run(_served(server))
    if wanted is None:
        return names[0]
    if wanted not in names:
        raise ModelNotServed(f"{wanted} is not served at {server.url}, which serves {', '.join(names)}.")
    return wanted


async def _served(server: Server) -> list[str]:
    """The names of what is served, base models first."""
    async with _session(server) as http:
        status, content = await _exchange(http, server, "GET", "/v1/models", None)
    if status != HTTPStatus.OK:
        raise ModelUnavailable(f"The model at {server.url} is not well: it answers with HTTP {status}.")
    try:
        cards = sorted(json.loads(content)["data"], key=lambda card: card.get("parent") is not None)
        names = [str(card["id"]) for card in cards]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelUnavailable(f"What answers at {server.url} is not vLLM.") from error
    if not names:
        raise ModelNotServed(f"No model is served at {server.url}.")
    return names


async def _ask_all(
    server: Server, model: str, questions: Sequence[Question], decoding: Decoding, on_answer: Callable[[], None]
) -> list[RawAnswer]:
    answers: dict[int, RawAnswer] = {}
    waiting = iter(enumerate(questions))

    async def ask_on(http: ClientSession) -> None:
        for index, question in waiting:
            answers[index] = await _ask(http, server, model, question, decoding)
            on_answer()

    async with _session(server) as http:
        askers = [asyncio.create_task(ask_on(http)) for _ in range(min(server.concurrency, len(questions)))]
        try:
            await asyncio.gather(*askers)
        finally:
            await end(*askers)
    return [answers[index] for index in range(len(questions))]


async def _ask(http: ClientSession, server: Server, model: str, question: Question, decoding: Decoding) -> RawAnswer:
    request = {
        "model": model,
        "messages": await asyncio.to_thread(_messages, question),
        "max_tokens": decoding.max_tokens,
        "temperature": decoding.temperature,
        "seed": decoding.seed,
    }
    status, content = await _exchange(http, server, "POST", "/v1/chat/completions", request)
    match status:
        case HTTPStatus.OK:
            choice = json.loads(content)["choices"][0]
            return RawAnswer(text=choice["message"]["content"] or "", finish_reason=choice["finish_reason"])
        case HTTPStatus.NOT_FOUND:
            raise ModelNotServed(f"{model} is not served at {server.url}.")
        case HTTPStatus.SERVICE_UNAVAILABLE:
            raise ModelUnavailable(f"The model at {server.url} is not well; look at its log.")
    said = _message(content) or f"HTTP {status}"
    raise GenerationFailed(f"The model refused image {question.image}: {said}", is_permanent=True)


async def _exchange(
    http: ClientSession, server: Server, method: str, path: str, request: dict[str, Any] | None
) -> tuple[int, bytes]:
    """Status and content of the answer."""
    try:
        async with http.request(method, server.url.rstrip("/") + path, json=request) as response:
            return response.status, await response.read()
    except SocketTimeoutError as error:
        raise ModelUnavailable(f"The model at {server.url} gave no answer in {server.timeout_s:g} s.") from error
    except (ClientError, TimeoutError) as error:
        raise ModelUnavailable(f"No model can be reached at {server.url}; start it or give its URL.") from error


def _check_images(questions: Sequence[Question]) -> None:
    """A missing image is said before the first question is asked, not an hour later."""
    missing = [image for image in dict.fromkeys(question.image for question in questions) if not image.is_file()]
    if missing:
        raise UnreadableDataSet(f"{len(missing)} images are missing, the first is {missing[0]}.")


def _session(server: Server) -> ClientSession:
    connector = TCPConnector(limit=0, keepalive_timeout=_IDLE_CONNECTION_S)
    return ClientSession(
        connector=connector, timeout=ClientTimeout(total=None, sock_connect=_CONNECT_S, sock_read=server.timeout_s)
    )


def _messages(question: Question) -> list[dict[str, Any]]:
    try:
        encoded = base64.b64encode(question.image.read_bytes()).decode()
    except OSError as error:
        raise UnreadableDataSet(f"Image {question.image} cannot be read: {error.strerror}.") from error
    kind = mimetypes.guess_type(question.image.name)[0] or "application/octet-stream"
    image = {"type": "image_url", "image_url": {"url": f"data:{kind};base64,{encoded}"}}
    return [{"role": "user", "content": [image, {"type": "text", "text": question.prompt}]}]


def _message(content: bytes) -> str:
    """What the model says of its refusal, in one line; empty where it says nothing."""
    try:
        body = json.loads(content)
        return str(body.get("error", body).get("message", "")).strip().partition("\n")[0][:300]
    except (ValueError, AttributeError):  # not JSON, or of another shape: the status says enough
        return ""
