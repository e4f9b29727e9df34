"""Every error's HTTP form, in one place: RFC 9457 problem details with a stable `type`."""

from http import HTTPStatus
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from pairs import errors
from pairs.errors import InvalidField, JudgefreeError, Unauthenticated

TYPE_PREFIX = "urn:judgefree:problem:"
RETRY_AFTER_S = 5

_log = structlog.get_logger(__name__)


class FieldProblem(BaseModel):
    """A field and what is wrong with it."""

    field: str
    message: str


class InvalidFields(InvalidField):
    """One or more fields with a bad value, each named."""

    def __init__(self, fields: list[FieldProblem]) -> None:
        super().__init__("; ".join(f"{one.field}: {one.message}" for one in fields))
        self.fields = fields


class Problem(BaseModel):
    """RFC 9457; `errors` names each field of a 422."""

    type: str
    title: str
    status: int
    detail: str
    errors: list[FieldProblem] | None = None


def add_problem_handlers(app: FastAPI) -> None:
    """Make `app` answer every error as a problem, its framework's own included."""
    app.add_exception_handler(JudgefreeError, _refused)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Exception, _unexpected)


def response_of(error: JudgefreeError) -> JSONResponse:
    """The answer that tells a client of `error`."""
    headers: dict[str, str] = {}
    if error.status in (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE):
        headers["Retry-After"] = str(RETRY_AFTER_S)
    if isinstance(error, Unauthenticated):
        headers["WWW-Authenticate"] = 'Bearer realm="judgefree"'
    fields = error.fields if isinstance(error, InvalidFields) else None
    return _answer(error.type, error.title, error.status, error.detail, fields, headers)


def field_problems(found: list[Any]) -> list[FieldProblem]:
    """pydantic's errors, each as the dotted name of its field and a sentence."""
    return [FieldProblem(field=_dotted(one["loc"]), message=_sentence(one)) for one in found]


def documented(*kinds: type[JudgefreeError]) -> dict[int | str, dict[str, Any]]:
    """What OpenAPI says of the problems that a route may answer with."""
    told: dict[int | str, dict[str, Any]] = {}
    for kind in kinds:
        example = Problem(type=f"{TYPE_PREFIX}{kind.type}", title=kind.title, status=kind.status, detail="...")
        media = {"schema": _SCHEMA, "examples": {}}
        entry = told.setdefault(kind.status, {"description": kind.title, "content": {_MEDIA_TYPE: media}})
        entry["content"][_MEDIA_TYPE]["examples"][kind.type] = {"value": example.model_dump(exclude_none=True)}
    return told


_MEDIA_TYPE = "application/problem+json"


def _inlined_schema() -> dict[str, Any]:
    """The schema of a problem without references: OpenAPI resolves none that points into a response."""
    schema = Problem.model_json_schema()
    schema["properties"]["errors"] = {"type": "array", "items": schema.pop("$defs")["FieldProblem"]}
    return schema


_SCHEMA = _inlined_schema()


async def _refused(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, JudgefreeError)
    if error.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        _log.warning("refused", type=error.type, detail=error.detail, cause=repr(error.__cause__))
    return response_of(error)


async def _invalid(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    found = [one | {"loc": one["loc"][1:]} for one in error.errors()]  # "query", "body", ... is no part of the name
    return response_of(InvalidFields(field_problems(found)))


async def _http(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    status = HTTPStatus(error.status_code)
    headers = dict(error.headers or {})
    kind = {404: "not-found", 405: "method-not-allowed"}.get(status, "malformed-request")
    return _answer(kind, status.phrase, status, f"{status.phrase}: see /docs for what there is.", None, headers)


async def _unexpected(request: Request, error: Exception) -> JSONResponse:
    _log.error("unexpected error", method=request.method, path=request.url.path, exc_info=error)
    return response_of(errors.JudgefreeError("Something went wrong here; it has been logged."))


def _answer(
    kind: str, title: str, status: int, detail: str, fields: list[FieldProblem] | None, headers: dict[str, str]
) -> JSONResponse:
    problem = Problem(type=f"{TYPE_PREFIX}{kind}", title=title, status=int(status), detail=detail, errors=fields)
    return JSONResponse(
        problem.model_dump(exclude_none=True), status_code=status, headers=headers, media_type=_MEDIA_TYPE
    )


def _dotted(location: tuple[str | int, ...]) -> str:
    return ".".join(str(part) for part in location) or "request"


def _sentence(error: Any) -> str:
    if error["type"] == "extra_forbidden":
        return "there is no such field"
    message = str(error["msg"]).removeprefix("Value error, ")
    return message[:1].lower() + message[1:]
