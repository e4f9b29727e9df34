"""A request's body, read under bounds: multipart or JSON becomes the same `Body`, and no more is read than allowed."""

import asyncio
import base64
import binascii
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from fastapi import Request
from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header

from pairs.errors import MalformedRequest, TooLarge, UnsupportedMediaType
from pairs.settings import Settings
from service.problems import FieldProblem, InvalidFields

IMAGE: Final = "image"
TOO_DEEP: Final = "The body is nested too deep."
_MAX_FIELD_BYTES: Final = 2**20
_LARGEST_AT_A_TIME: Final = 4
"""So many requests of the largest size are read at a time; of small ones, as many as take no more."""
_MAX_PARTS: Final = 64  # besides images; there are a dozen fields


@dataclass
class Body:
    """The images as they came, and the fields; text fields of a form are still text (`is_form`)."""

    images: list[bytes] = field(default_factory=list)
    fields: dict[str, Any] = field(default_factory=dict)
    is_form: bool = False


class Room:
    """The bytes that the bodies of all requests may have together; who finds too little room waits, in order."""

    def __init__(self, settings: Settings) -> None:
        self._most = settings.max_request_bytes
        self._left = _LARGEST_AT_A_TIME * self._most
        self._turn = asyncio.Lock()
        self._freed = asyncio.Event()

    @asynccontextmanager
    async def taken(self, request: Request) -> AsyncIterator[None]:
        """Room for the request: for as many bytes as it declares, or for the most that it may have."""
        declared = request.headers.get("content-length", "")
        size = min(int(declared), self._most) if declared.isdecimal() else self._most
        async with self._turn:
            while self._left < size:
                self._freed.clear()
                await self._freed.wait()
            self._left -= size
        try:
            yield
        finally:
            self._left += size
            self._freed.set()


async def read_body(request: Request, settings: Settings) -> Body:
    """Read the request; raises UnsupportedMediaType, MalformedRequest, TooLarge or InvalidFields."""
    media_type, options = parse_options_header(request.headers.get("content-type"))
    match media_type:
        case b"multipart/form-data":
            body = await _read_form(request, options, settings)
        case b"application/json":
            body = await _read_json(request, settings)
        case _:
            raise UnsupportedMediaType("Send multipart/form-data or application/json.")
    if not body.images:
        raise InvalidFields([FieldProblem(field=IMAGE, message="at least one image is needed")])
    _check_count(len(body.images), settings)
    return body


async def _bounded(request: Request, settings: Settings) -> AsyncIterator[bytes]:
    most = settings.max_request_bytes
    read = 0
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > most:
        raise TooLarge(f"The request has {declared} bytes; at most {most} are accepted.")
    async for chunk in request.stream():
        read += len(chunk)
        if read > most:
            raise TooLarge(f"The request has more than the {most} bytes that are accepted.")
        yield chunk


async def _read_form(request: Request, options: dict[bytes, bytes], settings: Settings) -> Body:
    form = _Form(settings)
    try:
        parser = MultipartParser(options[b"boundary"], form.callbacks())
        async for chunk in _bounded(request, settings):
            parser.write(chunk)
        parser.finalize()
    except (KeyError, FormParserError, UnicodeDecodeError) as error:
        raise MalformedRequest("The multipart body could not be read.") from error
    if not form.is_whole:
        raise MalformedRequest("The multipart body ends in the middle.")
    return form.body


class _Form:
    """Collects the parts of a multipart body, each under its bound, while it streams in."""

    def __init__(self, settings: Settings) -> None:
        self.body = Body(is_form=True)
        self.is_whole = False
        self._settings = settings
        self._header, self._value = bytearray(), bytearray()
        self._name = ""
        self._part = bytearray()

    def callbacks(self) -> Any:
        return {
            "on_part_begin": self._begin,
            "on_header_field": lambda chunk, start, end: self._header.extend(chunk[start:end]),
            "on_header_value": lambda chunk, start, end: self._value.extend(chunk[start:end]),
            "on_header_end": self._end_header,
            "on_part_data": self._take,
            "on_part_end": self._end_part,
            "on_end": self._end,
        }

    def _begin(self) -> None:
        self._name, self._part = "", bytearray()
        if len(self.body.fields) >= _MAX_PARTS:
            raise MalformedRequest("The form has too many fields.")

    def _end_header(self) -> None:
        if self._header.lower() == b"content-disposition":
            _, options = parse_options_header(bytes(self._value))
            self._name = options.get(b"name", b"").decode()
            if b"filename" in options and self._name != IMAGE:
                raise InvalidFields([FieldProblem(field=self._name, message=f"only `{IMAGE}` may be a file")])
        self._header, self._value = bytearray(), bytearray()

    def _take(self, chunk: bytes, start: int, end: int) -> None:
        self._part += chunk[start:end]
        if self._name == IMAGE:
            _check_size(len(self._part), len(self.body.images), self._settings)
            _check_count(len(self.body.images) + 1, self._settings)
        elif len(self._part) > _MAX_FIELD_BYTES:
            raise TooLarge(f"Field {self._name[:64]!r} has more than {_MAX_FIELD_BYTES} bytes.")

    def _end_part(self) -> None:
        if self._name == IMAGE:
            self.body.images.append(bytes(self._part))
        elif not self._name:
            raise MalformedRequest("A part of the form has no name.")
        elif self._name in self.body.fields:
            raise InvalidFields([FieldProblem(field=self._name, message="given more than once")])
        else:
            self.body.fields[self._name] = self._part.decode()

    def _end(self) -> None:
        self.is_whole = True


async def _read_json(request: Request, settings: Settings) -> Body:
    raw = b"".join([chunk async for chunk in _bounded(request, settings)])
    return await asyncio.to_thread(_parse_json, raw, settings)


def _parse_json(raw: bytes, settings: Settings) -> Body:
    try:
        fields = json.loads(raw)
    except RecursionError as error:
        raise MalformedRequest(TOO_DEEP) from error
    except ValueError as error:
        raise MalformedRequest("The body is not JSON.") from error
    if not isinstance(fields, dict):
        raise MalformedRequest("The body must be a JSON object.")
    given = fields.pop(IMAGE, None), fields.pop("images", None)
    images = [one for value in given if value is not None for one in (value if isinstance(value, list) else [value])]
    return Body([_decoded(one, index, settings) for index, one in enumerate(images)], fields)


def _decoded(value: object, index: int, settings: Settings) -> bytes:
    """The bytes of an image given as base64 or as a data URI."""
    if isinstance(value, str):
        _check_size(len(value) * 3 // 4 - 2, index, settings)
        encoded = value.partition(",")[2] if value.startswith("data:") else value
        try:
            return base64.b64decode("".join(encoded.split()), validate=True)
        except (binascii.Error, ValueError):
            pass  # said below, as for what is no text at all
    raise InvalidFields([FieldProblem(field=f"{IMAGE}.{index}", message="must be base64 or a data URI")])


def _check_size(size: int, index: int, settings: Settings) -> None:
    if size > settings.max_image_bytes:
        raise TooLarge(f"image {index} has more than the {settings.max_image_bytes} bytes that are accepted.")


def _check_count(count: int, settings: Settings) -> None:
    most = min(settings.max_images, settings.max_in_flight)  # past the latter there would never be room for it
    if count > most:
        raise TooLarge(f"The request has more than the {most} images that are accepted in one.")
