"""Sampling parameters of twins, over HTTP with the demo model: both members draw from the reference's distribution."""

import asyncio
from typing import Any
from uuid import uuid4

import httpx
import pytest
import torch
from PIL.Image import Image
from torch import Tensor

from tests.mllm.client import MAX_TOKENS, PROMPT, Client, xargs
from workers.mllm.blend import uniform
from workers.mllm.reference import TwoPass

RATIO = 0.5
CUTS: list[dict[str, Any]] = [
    {},
    {"top_p": 0.8},
    {"top_k": 5},
    {"min_p": 0.05},
    {"top_k": 12, "top_p": 0.9, "min_p": 0.02},
]
SEEDS = 240
NOISE = 1e-4
"""A drawn number nearer than this to the edge between two tokens may fall on either side of it."""


def distribution(logits: Tensor, temperature: float, top_k: int = 0, top_p: float = 1.0, min_p: float = 0.0) -> Tensor:
    """What should be sampled from, written down plainly: temperature, min-p, top-k, top-p, in vLLM's order.

    logits, and the probabilities that are returned: [vocab].
    """
    logits = logits.double() / temperature
    kept = logits.softmax(0) >= min_p * logits.softmax(0).max()
    if top_k:
        kept &= logits >= logits.topk(top_k).values[-1]
    probabilities = logits.masked_fill(~kept, -torch.inf).softmax(0)
    ordered, order = probabilities.sort(descending=True)
    is_above = ordered.cumsum(0) - ordered < top_p
    kept[order[~is_above]] = False
    return logits.masked_fill(~kept, -torch.inf).softmax(0)


def blended(reference: TwoPass, scene: Image, ratio: float, token_ids: list[int]) -> Tensor:
    """The reference's blended logits at each place of an answer: [tokens, vocab]."""
    grounded, blind = reference.logits(PROMPT, scene, token_ids)
    return (1 - ratio) * grounded + ratio * blind


def p_value(found: Tensor, expected: Tensor) -> float:
    """Pearson's chi-square test of counts; tokens that are expected fewer than five times are taken together."""
    is_rare = expected < 5
    bins = torch.cat([expected[~is_rare], expected[is_rare].sum()[None]])
    counts = torch.cat([found[~is_rare], found[is_rare].sum()[None]]).double()
    bins, counts = bins[bins > 0], counts[bins > 0]
    chi_square = ((counts - bins) ** 2 / bins).sum()
    return float(torch.special.gammaincc(torch.tensor((len(bins) - 1) / 2).double(), chi_square / 2))


@pytest.mark.parametrize("cut", CUTS, ids=str)
async def test_first_tokens_follow_the_references_distribution(
    mllm: Client, reference: TwoPass, scenes: list[Image], cut: dict[str, Any]
) -> None:
    """A chi-square test at fixed seeds, at a temperature that spreads the first word of a caption."""
    fields = {"temperature": 2.0, "max_tokens": 1, "ignore_eos": True} | cut
    pairs = await asyncio.gather(*(mllm.ask_pair(scenes[0], RATIO, seed=seed, **fields) for seed in range(SEEDS)))
    assert all(grounded.token_ids == blind.token_ids for grounded, blind in pairs)
    drawn = torch.tensor([grounded.token_ids[0] for grounded, _ in pairs])
    expected = distribution(blended(reference, scenes[0], RATIO, [0])[0], 2.0, **cut)
    found = drawn.bincount(minlength=len(expected))
    assert not found[expected == 0].any()
    p = p_value(found, SEEDS * expected)
    print(f"{cut}: {int((found > 0).sum())} different first tokens, p = {p:.3f}")
    assert int((SEEDS * expected > 5).sum()) > 3
    assert p > 0.001


@pytest.mark.parametrize("cut", CUTS, ids=str)
@pytest.mark.parametrize("ratio", [-0.5, 0.5, 1.0])
async def test_every_token_is_the_one_that_the_reference_draws_with_the_same_number(
    any_mllm: Client, reference: TwoPass, scenes: list[Image], cut: dict[str, Any], ratio: float
) -> None:
    fields = {"temperature": 1.2, "max_tokens": 32} | cut
    pairs = await asyncio.gather(
        *(any_mllm.ask_pair(scene, ratio, seed=number, **fields) for number, scene in enumerate(scenes[:4]))
    )
    for seed, (scene, (grounded, blind)) in enumerate(zip(scenes, pairs, strict=False)):
        assert grounded.token_ids == blind.token_ids
        steps = torch.arange(len(grounded.token_ids))
        numbers = uniform(torch.full_like(steps, seed), steps)
        logits = blended(reference, scene, ratio, grounded.token_ids)
        for token, number, row in zip(grounded.token_ids, numbers, logits, strict=True):
            upto = distribution(row, 1.2, **cut).cumsum(0)
            below = upto[token - 1] if token else 0.0
            assert below - NOISE < number <= upto[token] + NOISE


async def test_the_same_seed_gives_the_same_text_whatever_else_is_in_the_batch(
    any_mllm: Client, scenes: list[Image]
) -> None:
    fields = {"temperature": 1.0, "top_p": 0.95}
    alone = [await any_mllm.ask_pair(scene, RATIO, seed=7, **fields) for scene in scenes[:6]]
    crowd = [any_mllm.ask_pair(scenes[k % 24], 0.3, seed=k, **fields) for k in range(24)]
    plain = [any_mllm.ask(scenes[k % 24], temperature=1.0, max_tokens=MAX_TOKENS) for k in range(24)]
    among, _, _ = await asyncio.gather(
        asyncio.gather(*(any_mllm.ask_pair(scene, RATIO, seed=7, **fields) for scene in scenes[:6])),
        asyncio.gather(*crowd),
        asyncio.gather(*plain),
    )
    assert [answer.token_ids for pair in among for answer in pair] == [a.token_ids for pair in alone for a in pair]
    assert len({tuple(grounded.token_ids) for grounded, _ in alone}) > 1


@pytest.mark.parametrize("temperature", [0.0, 1.0])
async def test_a_stop_string_ends_both_members_at_the_same_place(
    mllm: Client, scenes: list[Image], temperature: float
) -> None:
    fields = {"temperature": temperature, "seed": 3}
    whole = await asyncio.gather(*(mllm.ask_pair(scene, RATIO, **fields) for scene in scenes))
    cut = await asyncio.gather(*(mllm.ask_pair(scene, RATIO, stop=["ring", "disc."], **fields) for scene in scenes))
    stopped = 0
    for (before, _), pair in zip(whole, cut, strict=True):
        ends = [place for word in ("ring", "disc.") if (place := before.text.find(word)) >= 0]
        for answer in pair:
            assert answer.text == before.text[: min(ends, default=None)]
            assert answer.finish_reason == "stop"
            assert (answer.stop_reason in ("ring", "disc.")) == bool(ends)
        stopped += bool(ends)
    assert stopped > 0
    assert mllm.server.metric("vllm:kv_cache_usage_perc") == 0


async def test_a_stop_token_ends_both_members_at_the_same_place(
    mllm: Client, reference: TwoPass, scenes: list[Image]
) -> None:
    stop = reference.processor.tokenizer.convert_tokens_to_ids(".")
    grounded, blind = await mllm.ask_pair(scenes[0], RATIO, stop_token_ids=[stop])
    assert grounded.token_ids == blind.token_ids
    assert grounded.token_ids.index(stop) == len(grounded.token_ids) - 1


@pytest.mark.parametrize("temperature", [0.0, 1.0])
async def test_logprobs_are_each_members_own_before_the_blend_and_only_where_asked_for(
    mllm: Client, reference: TwoPass, scenes: list[Image], temperature: float
) -> None:
    async def ask(image: Image | None, role: str, name: str, **fields: Any) -> Any:
        asked = {"temperature": temperature, "seed": 1, "vllm_xargs": xargs(name, role, RATIO)} | fields
        return (await mllm.post(image, **asked)).raise_for_status().json()["choices"][0]

    for fields in ({"logprobs": True}, {}):
        name = uuid4().hex
        grounded, blind = await asyncio.gather(
            ask(scenes[0], "grounded", name, logprobs=True), ask(None, "blind", name, **fields)
        )
        assert grounded["token_ids"] == blind["token_ids"]
        own = reference.logits(PROMPT, scenes[0], grounded["token_ids"])
        for choice, logits in zip((grounded, blind), own, strict=True):
            if choice["logprobs"] is None:
                assert choice is blind
                assert not fields
                continue
            served = torch.tensor([entry["logprob"] for entry in choice["logprobs"]["content"]])
            expected = logits.log_softmax(1)[torch.arange(len(served)), torch.tensor(choice["token_ids"])]
            torch.testing.assert_close(served, expected, atol=1e-3, rtol=1e-4)


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"frequency_penalty": 0.5}, "frequency_penalty"),
        ({"bad_words": ["ring"]}, "bad_words"),
        ({"allowed_token_ids": [5, 6]}, "allowed_token_ids"),
        ({"thinking_token_budget": 8}, "thinking_token_budget"),
        ({"structured_outputs": {"choice": ["a", "b"]}}, "structured_outputs"),
    ],
)
async def test_what_would_pull_twins_apart_is_refused_by_name(
    mllm: Client, fields: dict[str, object], named: str
) -> None:
    response = await mllm.post(None, vllm_xargs=xargs("t", "blind", 0.5), **fields)
    assert response.status_code == httpx.codes.BAD_REQUEST
    assert named in response.json()["error"]["message"]
