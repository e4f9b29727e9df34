"""What the client makes of fields, headers and problems; it meets a real gateway in tests/integration."""

from datetime import timedelta
from email.utils import format_datetime

import pytest

from judgefree import ApiError, Client, Fields, Problem, Unreachable
from judgefree.client import retry_after_s
from judgefree.problems import api_error, problem_of
from pairs import errors
from pairs.clock import now
from pairs.model import GroundingMethod, Method
from tests.conftest import free_port


def test_fields_are_named_as_the_gateway_reads_them_and_the_rest_is_left_to_it() -> None:
    form = Fields(
        prompt="What?", method=Method.DROP, ratio=0.25, max_tokens=7, grounding=GroundingMethod.CONTRASTIVE
    ).form()
    assert form == {
        "prompt": "What?",
        "hallucination.method": "drop",
        "hallucination.ratio": "0.25",
        "grounding.method": "contrastive",
        "max_tokens": "7",
    }


@pytest.mark.parametrize(("asked", "expected_s"), [("5", 5.0), ("0", 0.0), ("", 0.5), ("soon", 0.5)])
def test_retry_after_in_seconds(asked: str, expected_s: float) -> None:
    assert retry_after_s({"Retry-After": asked}, 0.5) == expected_s


def test_retry_after_as_a_date() -> None:
    asked = format_datetime(now() + timedelta(seconds=30), usegmt=True)
    assert 25 < retry_after_s({"Retry-After": asked}, 0.5) <= 30


def test_a_problem_is_raised_as_the_error_of_its_type() -> None:
    problem = Problem(type="urn:judgefree:problem:not-an-image", title="t", status=415, detail="It is a poem.")
    error = api_error(problem)
    assert isinstance(error, ApiError)
    assert isinstance(error, errors.NotAnImage)
    assert error.problem == problem
    assert str(error) == "It is a poem."


@pytest.mark.parametrize(
    "kind", [kind for kind in errors.JudgefreeError.__subclasses__() if kind.__module__ == errors.__name__]
)
def test_every_error_of_the_gateway_has_its_class(kind: type[errors.JudgefreeError]) -> None:
    error = api_error(Problem(type=f"urn:judgefree:problem:{kind.type}", status=kind.status, detail="so"))
    assert isinstance(error, kind)
    assert error.status == kind.status


@pytest.mark.parametrize("body", [None, "oops", {"error": "no problem+json"}, []])
def test_an_answer_that_is_no_problem_still_says_its_status(body: object) -> None:
    error = api_error(problem_of(502, body))
    assert error.problem.status == 502
    assert "502" in str(error)


def test_no_gateway_is_said_after_the_patience_is_over() -> None:
    with (
        Client(f"http://127.0.0.1:{free_port()}", patience_s=0.5) as client,
        pytest.raises(Unreachable, match="judgefree up"),
    ):
        client.stats()
