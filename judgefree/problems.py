"""The gateway's problems (RFC 9457) as Python errors: of the class in `pairs.errors` with the same `type`."""

from functools import cache
from typing import Any

from pydantic import BaseModel, ConfigDict

from pairs import errors
from pairs.errors import JudgefreeError


class Problem(BaseModel):
    """An RFC 9457 problem; `type` is a stable URI, the last part of which is the error's name."""

    model_config = ConfigDict(extra="allow", frozen=True)

    type: str = "about:blank"
    title: str = ""
    status: int
    detail: str = ""

    @property
    def name(self) -> str:
        return self.type.replace(":", "/").rstrip("/").rpartition("/")[2]


class ApiError(JudgefreeError):
    """The gateway refused or failed a request. Errors that the gateway names are of that class in `pairs.errors` too,
    so that both `except ApiError` and, say, `except NotAnImage` catch them."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.detail or problem.title or f"HTTP {problem.status}")
        self.problem = problem


class Unreachable(JudgefreeError):
    """No gateway answers under the client's URL."""

    type, status, title = "unreachable", 503, "The gateway cannot be reached"


def api_error(problem: Problem) -> ApiError:
    """The error to raise for `problem`."""
    kind = _classes().get(problem.name)
    return ApiError(problem) if kind is None else kind(problem)


def problem_of(status: int, body: object) -> Problem:
    """The problem in a response's JSON `body`; one made up from the status where a proxy answered something else."""
    if isinstance(body, dict) and isinstance(body.get("type"), str):
        return Problem.model_validate({"status": status} | body)
    return Problem(status=status, title=f"HTTP {status}", detail=f"The server answered with HTTP {status}.")


@cache
def _classes() -> dict[str, type[ApiError]]:
    named: list[Any] = [value for value in vars(errors).values() if isinstance(value, type)]
    kinds = [kind for kind in named if issubclass(kind, JudgefreeError) and kind is not JudgefreeError]
    return {
        kind.type: type(
            kind.__name__, (ApiError, kind), {"type": kind.type, "status": kind.status, "title": kind.title}
        )
        for kind in kinds
    }
