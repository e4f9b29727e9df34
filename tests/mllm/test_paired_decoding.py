"""Paired decoding over HTTP, on a real vLLM with the demo model, against the two-pass reference."""

import asyncio

import httpx
import pytest
from PIL.Image import Image

from tests.mllm.client import MAX_TOKENS, PROMPT, Answer, Client, xargs
from workers.mllm.reference import Decoded, TwoPass

TIE = 1e-4
"""Two blended logits nearer than this are a tie within float noise: either may win."""
TOGETHER = 9
"""So many prompts are asked about at once: one by one, each step would serve one pair."""


def is_same_or_tied(answer: Answer, expected: Decoded) -> bool:
    """Whether the served answer is the reference's, or leaves it first at a step where the reference had a tie."""
    if answer.token_ids == expected.token_ids:
        assert answer.text.strip() == expected.text
        return True
    differing = [
        step for step, pair in enumerate(zip(answer.token_ids, expected.token_ids, strict=False)) if pair[0] != pair[1]
    ]
    step = differing[0] if differing else min(len(answer.token_ids), len(expected.token_ids))
    lead = expected.leads[min(step, len(expected.leads) - 1)]
    print(f"step {step}: the reference's lead is {lead:g}; {answer.text!r} for {expected.text!r}")
    return lead < TIE


@pytest.mark.parametrize(("ratio", "every"), [(-0.5, 2), (0.3, 2), (0.6, 1), (0.9, 2)])
async def test_twins_are_identical_and_equal_to_the_two_pass_reference(
    mllm: Client, reference: TwoPass, scenes: list[Image], ratio: float, every: int
) -> None:
    """All 24 scenes, or every second one, each answer to its end."""
    asked = scenes[::every]
    pairs = await asyncio.gather(*(mllm.ask_pair(scene, ratio) for scene in asked))
    for scene, (grounded, blind) in zip(asked, pairs, strict=True):
        assert grounded.token_ids == blind.token_ids
        assert grounded.finish_reason == blind.finish_reason == "stop"
        assert is_same_or_tied(grounded, reference.answer(PROMPT, scene, ratio, MAX_TOKENS))


async def test_ratio_0_is_the_plain_answer_and_ratio_1_the_blind_one(mllm: Client, scenes: list[Image]) -> None:
    blind = await mllm.ask(None)
    for scene in scenes[:6]:
        plain, at_0, at_1 = await asyncio.gather(mllm.ask(scene), mllm.ask_pair(scene, 0.0), mllm.ask_pair(scene, 1.0))
        assert [answer.token_ids for answer in at_0] == [plain.token_ids] * 2
        assert [answer.token_ids for answer in at_1] == [blind.token_ids] * 2


async def test_48_pairs_in_flight_among_ordinary_requests(mllm: Client, scenes: list[Image]) -> None:
    alone = [await mllm.ask_pair(scene, 0.6) for scene in scenes[:4]]
    plain_alone = [await mllm.ask(scene) for scene in scenes[:4]]
    pairs, plain = await asyncio.gather(
        asyncio.gather(*(mllm.ask_pair(scenes[k % len(scenes)], 0.6) for k in range(48))),
        asyncio.gather(*(mllm.ask(scenes[k % len(scenes)]) for k in range(24))),
    )
    assert all(grounded.token_ids == blind.token_ids for grounded, blind in pairs)
    assert [pair[0].token_ids for pair in pairs[:4]] == [pair[0].token_ids for pair in alone]
    assert [answer.token_ids for answer in plain[:4]] == [answer.token_ids for answer in plain_alone]


@pytest.mark.parametrize("cut", [{}, {"top_p": 0.9}, {"top_k": 5}, {"min_p": 0.1}])
async def test_sampled_twins_are_identical_and_reproducible_by_seed(
    mllm: Client, scenes: list[Image], cut: dict[str, float]
) -> None:
    async def sample(seed: int) -> list[list[int]]:
        pairs = (mllm.ask_pair(scene, 0.5, temperature=0.8, seed=seed, **cut) for scene in scenes[:8])
        answers = await asyncio.gather(*pairs)
        assert all(grounded.token_ids == blind.token_ids for grounded, blind in answers)
        return [grounded.token_ids for grounded, _ in answers]

    first, again, other = await sample(1), await sample(1), await sample(2)
    assert first == again
    assert first != other


async def test_sampled_twins_without_a_seed_are_identical_and_differ_between_pairs(
    mllm: Client, scenes: list[Image]
) -> None:
    pairs = await asyncio.gather(*(mllm.ask_pair(scenes[0], 0.5, temperature=1.5) for _ in range(6)))
    assert all(grounded.token_ids == blind.token_ids for grounded, blind in pairs)
    assert len({tuple(grounded.token_ids) for grounded, _ in pairs}) > 1


async def test_the_same_pair_again_comes_out_of_the_prefix_cache_unchanged(
    any_mllm: Client, scenes: list[Image]
) -> None:
    first = await any_mllm.ask_pair(scenes[0], 0.6)
    hits = any_mllm.server.metric("vllm:prefix_cache_hits_total")
    assert [answer.token_ids for answer in await any_mllm.ask_pair(scenes[0], 0.6)] == [first[0].token_ids] * 2
    assert any_mllm.server.metric("vllm:prefix_cache_hits_total") > hits


async def test_prompt_lengths_around_every_block_boundary(
    any_mllm: Client, reference: TwoPass, scenes: list[Image]
) -> None:
    """From one block of 32 tokens below to one above: the prompts cross 32 and 64, or 64 and 96. Then all cached."""
    prompts = [" ".join(["ring"] * words) for words in range(1, 64)]
    for some in (prompts[k : k + TOGETHER] for k in range(0, len(prompts), TOGETHER)):
        for _ in range(2):
            asked = (any_mllm.ask_pair(scenes[0], 0.4, prompt=prompt, max_tokens=6) for prompt in some)
            for prompt, (grounded, blind) in zip(some, await asyncio.gather(*asked), strict=True):
                assert grounded.token_ids == blind.token_ids
                assert is_same_or_tied(grounded, reference.answer(prompt, scenes[0], 0.4, 6))


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"vllm_xargs": xargs("t", "blue", 0.5)}, "judgefree_role"),
        ({"vllm_xargs": xargs("t", "blind", 2.5)}, "judgefree_ratio"),
        ({"vllm_xargs": xargs("", "blind", 0.5)}, "judgefree_twin"),
        ({"vllm_xargs": {"judgefree_twin": "t"}}, "judgefree_role"),
        ({"vllm_xargs": {**xargs("t", "blind", 0.5), "judgefree_roll": 1}}, "judgefree_roll"),
        ({"presence_penalty": 1.0}, "presence_penalty"),
        ({"repetition_penalty": 1.2}, "repetition_penalty"),
        ({"min_tokens": 4}, "min_tokens"),
        ({"logit_bias": {"5": 1.0}}, "logit_bias"),
        ({"n": 2, "temperature": 1.0}, "n."),
        ({"response_format": {"type": "json_object"}}, "structured_outputs"),
    ],
)
async def test_what_cannot_be_served_is_refused_at_once(mllm: Client, fields: dict[str, object], named: str) -> None:
    response = await mllm.post(None, **({"vllm_xargs": xargs("t", "blind", 0.5)} | fields))
    assert response.status_code == httpx.codes.BAD_REQUEST
    assert named in response.json()["error"]["message"]


async def test_an_ordinary_request_may_ask_for_anything(mllm: Client, scenes: list[Image]) -> None:
    answer = await mllm.ask(scenes[0], presence_penalty=0.5, min_tokens=4, vllm_xargs={"other": 1})
    assert answer.finish_reason == "stop"
