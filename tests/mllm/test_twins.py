"""What makes a request a twin, and what it may not ask for."""

import numpy as np
import pytest
from vllm import SamplingParams
from vllm.sampling_params import StructuredOutputsParams

from workers.mllm.twins import Role, Twin, TwinError, check_admissible, disagreements, twin_of

SOUND = {"judgefree_twin": "t", "judgefree_role": "blind", "judgefree_ratio": 0.5}


def test_a_twin_is_read_from_the_extra_arguments() -> None:
    assert twin_of(SOUND | {"other": 1}) == Twin("t", Role.BLIND, 0.5)
    assert twin_of(SOUND | {"judgefree_ratio": -2}) == Twin("t", Role.BLIND, -2.0)


@pytest.mark.parametrize("extra", [None, {}, {"other": 1}])
def test_an_ordinary_request_is_no_twin(extra: dict[str, object] | None) -> None:
    assert twin_of(extra) is None


@pytest.mark.parametrize(
    "flaw",
    [
        {"judgefree_ratio": 2.01},
        {"judgefree_ratio": float("nan")},
        {"judgefree_ratio": float("-inf")},
        {"judgefree_ratio": "0.5"},
        {"judgefree_ratio": True},
        {"judgefree_role": "sighted"},
        {"judgefree_role": ["blind"]},
        {"judgefree_twin": ""},
        {"judgefree_twin": 7},
        {"judgefree_twin": "x" * 129},
        {"judgefree_rato": 0.5},
    ],
)
def test_a_malformed_twin_is_refused_by_name(flaw: dict[str, object]) -> None:
    with pytest.raises(TwinError, match=next(iter(flaw))):
        twin_of(SOUND | flaw)


@pytest.mark.parametrize("missing", SOUND)
def test_a_twin_with_a_key_missing_is_refused(missing: str) -> None:
    with pytest.raises(TwinError, match=missing):
        twin_of({key: value for key, value in SOUND.items() if key != missing})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("frequency_penalty", 0.5),
        ("bad_words", ["x"]),
        ("allowed_token_ids", [1]),
        ("n", 2),
        ("logit_bias", {3: 1.0}),
        ("thinking_token_budget", 8),
        ("structured_outputs", StructuredOutputsParams(regex="a")),
    ],
)
def test_a_parameter_that_would_pull_twins_apart_is_refused_by_name(name: str, value: object) -> None:
    with pytest.raises(TwinError, match=name):
        check_admissible(SamplingParams(extra_args=dict(SOUND), **{name: value}))
    check_admissible(SamplingParams(**{name: value}))


def test_twins_disagree_on_what_bears_on_their_tokens_and_on_nothing_else() -> None:
    grounded = SamplingParams(max_tokens=8, extra_args=SOUND | {"judgefree_role": "grounded"})
    assert disagreements(grounded, SamplingParams(max_tokens=8, extra_args=dict(SOUND))) == []
    other = SamplingParams(max_tokens=9, seed=1, extra_args=SOUND | {"judgefree_ratio": 0.4})
    assert disagreements(grounded, other) == ["judgefree_ratio", "max_tokens", "seed"]


def test_twins_may_differ_in_what_is_only_reported() -> None:
    """Tables of token ids for prompt logprobs among it, whose comparison is no truth value."""
    tables = {"prompt_logprobs": 1, "prompt_logprob_token_ids": np.array([[1, 2], [3, 4]])}
    grounded = SamplingParams(logprobs=3, **tables, extra_args=SOUND | {"judgefree_role": "grounded"})
    assert disagreements(grounded, SamplingParams(**tables, extra_args=dict(SOUND))) == []
    assert disagreements(grounded, SamplingParams(extra_args=dict(SOUND))) == []
