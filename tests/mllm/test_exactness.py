"""The benchmark of exactness: it finds this vLLM exact, and it sees a difference where there is one."""

import math
from dataclasses import replace

import pytest
from PIL import Image

from benchmarks.checking import TIE, findings, first_difference, questions_about
from tests.mllm.server import MllmServer
from workers.mllm.reference import TwoPass


async def test_every_answer_is_compared(mllm_server: MllmServer, reference: TwoPass, scenes: list[Image.Image]) -> None:
    questions = questions_about(scenes[:2], reference)
    altered = questions[1].expected[0.6]
    altered = replace(altered, token_ids=[*altered.token_ids[:3], -1, *altered.token_ids[4:]])
    at_a_tie = replace(altered, leads=[TIE / 2 if step == 3 else math.inf for step in range(len(altered.leads))])
    sound = await findings(mllm_server.url, questions)
    wrong, tied = [
        await findings(mllm_server.url, [replace(questions[1], expected=questions[1].expected | {0.6: false})])
        for false in (altered, at_a_tie)
    ]
    assert sound.differences == sound.ties == []
    assert sound.compared == sound.right
    assert sound.compared == {
        "greedy twins, equal": 8,
        "greedy twins, as the reference": 8,
        "ordinary, as the reference": 3,
        "drawn twins, equal": 4,
        "seeded twins, the same again": 1,
    }
    assert [(one["scene"], one["ratio"], one["step"]) for one in wrong.differences] == [(1, 0.6, 3)]
    assert [(one["scene"], one["ratio"], one["step"]) for one in tied.ties] == [(1, 0.6, 3)]
    assert (wrong.ties, tied.differences) == ([], [])


@pytest.mark.parametrize(
    ("one", "other", "step"), [([1, 2], [1, 2], None), ([1, 3], [1, 2], 1), ([1], [1, 2], 1), ([1, 2], [1], 1)]
)
def test_an_answer_that_ends_early_differs_at_its_end(one: list[int], other: list[int], step: int | None) -> None:
    assert first_difference(one, other) == step
