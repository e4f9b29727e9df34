"""One vLLM replica over HTTP: is it well, what does it serve, how long is a prompt, and chat completions."""

import base64
import json
import re
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Literal, Self

import structlog
from aiohttp import ClientError, ClientSession, ClientTimeout, SocketTimeoutError, TCPConnector
from aiohttp.abc import AbstractResolver, ResolveResult

from pairs.errors import AdapterNotLoaded, GenerationFailed, ModelUnavailable
from pairs.model import Policy, RawAnswer, Sampling
from pairs.places import Place
from pairs.settings import Settings, public_name

Role = Literal["grounded", "blind"]

_PROBE_TIMEOUT_S = 5.0
_IDLE_CONNECTION_S = 2.0
"""Well below the 5 s after which vLLM closes an idle connection: a request sent just then would be lost."""
_WHOLE_BYTES = 256 * 1024
"""An image of up to so many bytes goes out in one piece. Of a larger one no whole copy is made: many pairs wait at a
time, and each would hold several for as long as its answers take."""
_PIECE_BYTES = 48 * 1024
"""A multiple of 3, so that the pieces' base64 is that of the whole."""
_URI = "data:image/png;base64,"
_LEAKS = re.compile(r"(?:/[\w.-]+){2,}|://|\d+\.\d+\.\d+\.\d+|Traceback|File \"")

_log = structlog.get_logger(__name__)
_INTERNAL = "Internal server error"
"""vLLM's whole message where a request ended in an error of the engine's."""


@dataclass(frozen=True)
class Served:
    """What a replica serves: `name` is what requests ask for to get the model as it is, `adapters` what they may ask
    for instead, `max_model_len` its context in tokens."""

    name: str
    policy: Policy
    max_model_len: int
    version: str
    adapters: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Twin:
    """One of the two contexts of a blended answer, as `workers.mllm` wants it told."""

    id: str
    role: Role
    ratio: float

    def xargs(self) -> dict[str, str | float]:
        return {"judgefree_twin": self.id, "judgefree_role": self.role, "judgefree_ratio": self.ratio}


@dataclass(frozen=True)
class Question:
    """A chat completion to ask for: a prompt, with an image (PNG) or without, and how to sample the answer."""

    prompt: str
    png: bytes | None
    sampling: Sampling
    seed: int
    twin: Twin | None = None


@dataclass(frozen=True)
class _Streamed:
    """The body of a request, in which the base64 of `png` stands between `head` and `tail`; made while it is sent."""

    head: bytes
    png: bytes
    tail: bytes

    def __len__(self) -> int:
        return len(self.head) + (len(self.png) + 2) // 3 * 4 + len(self.tail)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self.head
        for start in range(0, len(self.png), _PIECE_BYTES):
            yield base64.b64encode(self.png[start : start + _PIECE_BYTES])
        yield self.tail


class NotServed(ModelUnavailable):
    """The replica knows no model or adapter of the name that it was asked for."""


class InternalFault(GenerationFailed):
    """The replica says no more than that something went wrong within."""


class Mllm:
    """A replica's client. Raises ModelUnavailable when it is away, GenerationFailed when it refuses one request."""

    def __init__(self, http: ClientSession, url: str, settings: Settings) -> None:
        self._http = http
        self._url = url
        self._settings = settings
        self._patience = ClientTimeout(sock_connect=_PROBE_TIMEOUT_S, sock_read=settings.mllm_timeout_s)

    @classmethod
    def connect(cls, settings: Settings, place: Place) -> Self:
        """For use within a running event loop."""
        resolver = None if place.address is None else _OneAddress(place.address)
        connector = TCPConnector(limit=0, keepalive_timeout=_IDLE_CONNECTION_S, resolver=resolver)
        return cls(ClientSession(connector=connector), place.url, settings)

    async def close(self) -> None:
        await self._http.close()

    async def served(self) -> Served:
        """What the replica serves; raises ModelUnavailable unless it is well."""
        await self._get("/health")
        models, version = await self._get("/v1/models"), await self._get("/version")
        with _expecting_vllm():
            return _served(json.loads(models)["data"], str(json.loads(version)["version"]))

    async def adapters(self) -> dict[str, str]:
        """The adapters that the replica has loaded, each with the folder that it was told."""
        models = await self._get("/v1/models")
        with _expecting_vllm():
            return {model["id"]: model["root"] for model in json.loads(models)["data"] if model.get("parent")}

    async def load_adapter(self, name: str, path: str) -> None:
        """Make the replica load an adapter; raises AdapterNotLoaded when it cannot."""
        request = json.dumps({"lora_name": name, "lora_path": path}).encode()
        status, content = await self._exchange("POST", "/v1/load_lora_adapter", self._patience, request)
        if status == HTTPStatus.OK or name in await self.adapters():  # another gateway may have been quicker
            return
        message = _message(status, content)
        if status == HTTPStatus.NOT_FOUND and "adapter" not in message.lower():  # vLLM has no such path to post to
            reason = "vLLM takes no adapters; start it with a max_lora_rank (judgefree up --max-lora-rank 16)"
        elif status == HTTPStatus.NOT_FOUND:
            reason = "vLLM does not find it in the folder that was registered"
        else:
            reason = _presentable(message)
        raise AdapterNotLoaded(f"adapter {name} cannot be loaded: {reason}", is_permanent=True)

    async def count_tokens(self, model: str, prompt: str, png: bytes) -> int:
        """The tokens that prompt and image take in the model's context."""
        return int(json.loads(await self._post("/tokenize", _body(model, prompt, png)))["count"])

    async def ask(self, model: str, question: Question, trace: str | None = None) -> RawAnswer:
        """The answer of the model or adapter `model`; raises NotServed when the replica knows none of that name.

        `trace` is a traceparent: what vLLM traces of the request becomes part of that trace.
        """
        more: dict[str, Any] = {
            "max_tokens": question.sampling.max_tokens,
            "temperature": question.sampling.temperature,
            "top_p": question.sampling.top_p,
            "top_k": question.sampling.top_k,
            "seed": question.seed,
        }
        if question.twin is not None:
            more["vllm_xargs"] = question.twin.xargs()
        body = _body(model, question.prompt, question.png, **more)
        choice = json.loads(await self._post("/v1/chat/completions", body, trace))["choices"][0]
        if choice["finish_reason"] not in ("stop", "length"):
            raise GenerationFailed(f"the model stopped early: {_presentable(str(choice.get('stop_reason')))}")
        return RawAnswer(text=choice["message"]["content"] or "", finish_reason=choice["finish_reason"])

    async def _get(self, path: str) -> bytes:
        status, content = await self._exchange("GET", path, ClientTimeout(total=_PROBE_TIMEOUT_S))
        if status != HTTPStatus.OK:
            raise ModelUnavailable("The model is not well just now; try again shortly.")
        return content

    async def _post(self, path: str, body: bytes | _Streamed, trace: str | None = None) -> bytes:
        status, content = await self._exchange("POST", path, self._patience, body, trace)
        match status:
            case HTTPStatus.OK:
                return content
            case HTTPStatus.NOT_FOUND:  # the model or adapter went
                raise NotServed("The model is not served just now; try again shortly.")
            case HTTPStatus.SERVICE_UNAVAILABLE:  # the engine died
                raise ModelUnavailable("The model is not served just now; try again shortly.")
            case _ if status < HTTPStatus.INTERNAL_SERVER_ERROR:
                message = _presentable(_message(status, content))
                raise GenerationFailed(f"the model refused the request: {message}", is_permanent=True)
        failure = InternalFault if _message(status, content) == _INTERNAL else GenerationFailed
        raise failure("the model failed on the request")

    async def _exchange(
        self,
        method: str,
        path: str,
        patience: ClientTimeout,
        body: bytes | _Streamed | None = None,
        trace: str | None = None,
    ) -> tuple[int, bytes]:
        """Status and content of the answer."""
        headers = {"traceparent": trace} if trace else {}
        if body is not None:
            headers |= {"Content-Type": "application/json", "Content-Length": str(len(body))}
        try:
            async with self._http.request(
                method, self._url + path, data=body, headers=headers, timeout=patience, allow_redirects=False
            ) as response:
                return response.status, await response.read()
        except SocketTimeoutError as error:
            raise GenerationFailed(f"the model gave no answer in {self._settings.mllm_timeout_s:g} s") from error
        except (ClientError, TimeoutError) as error:
            raise ModelUnavailable("The model cannot be reached just now; try again shortly.") from error


class _OneAddress(AbstractResolver):
    """Every name is at this address: the request keeps the name, for its Host header and its certificate."""

    def __init__(self, address: str) -> None:
        self._address = address

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        family = socket.AF_INET6 if ":" in self._address else socket.AF_INET
        flags = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
        return [ResolveResult(hostname=host, host=self._address, port=port, family=family, proto=0, flags=flags)]

    async def close(self) -> None:
        """There is nothing to close."""


@contextmanager
def _expecting_vllm() -> Iterator[None]:
    try:
        yield
    except (AttributeError, ValueError, KeyError, TypeError) as error:
        raise ModelUnavailable("What answers in the model's place is not vLLM.") from error


def _served(models: list[dict[str, Any]], version: str) -> Served:
    bases = [model for model in models if not model.get("parent")]
    if not bases:
        raise ModelUnavailable("The replica serves no model.")
    name = bases[0]["id"]
    adapters = frozenset(model["id"] for model in models if model.get("parent"))
    return Served(name, Policy(model=public_name(name)), int(bases[0]["max_model_len"]), version, adapters)


def _body(model: str, prompt: str, png: bytes | None, **more: Any) -> bytes | _Streamed:
    if png is None or len(png) <= _WHOLE_BYTES:
        return json.dumps({"model": model, "messages": _messages(prompt, png), **more}).encode()
    around = json.dumps({"model": model, "messages": _messages(prompt, b""), **more})
    before = f'{{"url": "{_URI}'  # its quotation marks are escaped wherever a text of the request has them
    place = around.index(before) + len(before)
    return _Streamed(around[:place].encode(), png, around[place:].encode())


def _messages(prompt: str, png: bytes | None) -> list[dict[str, Any]]:
    text = {"type": "text", "text": prompt}
    if png is None:
        return [{"role": "user", "content": [text]}]
    uri = _URI + base64.b64encode(png).decode()
    return [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": uri}}, text]}]


def _message(status: int, content: bytes) -> str:
    try:
        body = json.loads(content)
        return str(body.get("error", body).get("message", ""))
    except (ValueError, AttributeError):  # not JSON, or of another shape: the status says enough
        return f"HTTP {status}"


def _presentable(message: str) -> str:
    """The first line, shortened; a message that quotes a path, an address or a stack goes to the log only."""
    if _LEAKS.search(message):
        _log.warning("the model gave a reason", message=message)
        return "its reason is in the log"
    return message.strip().partition("\n")[0][:300]
