"""What goes wrong between two requests that should be one pair, over HTTP, while other clients go on."""

import asyncio
import time

import httpx
import pytest
from PIL.Image import Image

from tests.mllm.client import MAX_TOKENS, Answer, Client, xargs
from tests.mllm.conftest import LONG_TOKENS, TWIN_WAIT_S

ENDLESS = {"ignore_eos": True, "max_tokens": LONG_TOKENS}


def assert_ended(answer: Answer, reason: str) -> None:
    assert answer.finish_reason == "abort"
    assert answer.stop_reason == reason


async def test_a_hundred_half_arrived_twins_hold_nobody_up_and_end_in_time(
    any_mllm: Client, scenes: list[Image]
) -> None:
    timeouts = any_mllm.server.metric("judgefree_mllm_timeouts_total")
    began = time.monotonic()
    lone = [
        asyncio.create_task(
            any_mllm.ask(scenes[k % len(scenes)], vllm_xargs=xargs(f"lone {k}", "grounded", 0.5))
            if k % 2
            else any_mllm.ask(None, vllm_xargs=xargs(f"lone {k}", "blind", 0.5))
        )
        for k in range(100)
    ]
    await any_mllm.until("judgefree_mllm_twins_in_flight", len(lone))
    async with any_mllm.others_go_on(scenes[0]):
        pair = await any_mllm.ask_pair(scenes[1], 0.5)
        assert pair[0].token_ids == pair[1].token_ids != []
        assert not any(task.done() for task in lone)
        answers = await asyncio.gather(*lone)
    assert TWIN_WAIT_S <= time.monotonic() - began < 2 * TWIN_WAIT_S + 10
    for k, answer in enumerate(answers):
        missing = "blind" if k % 2 else "grounded"
        assert_ended(
            answer, f"Twin 'lone {k}' waited {TWIN_WAIT_S:g} s for its {missing} member, which did not arrive."
        )
    await any_mllm.settled()
    assert any_mllm.server.metric("judgefree_mllm_timeouts_total") == timeouts + len(lone)


async def test_a_twin_that_arrives_five_seconds_late_is_waited_for(any_mllm: Client, scenes: list[Image]) -> None:
    on_time = await any_mllm.ask_pair(scenes[0], 0.6)
    async with any_mllm.others_go_on(scenes[1]):
        grounded = asyncio.create_task(any_mllm.ask(scenes[0], vllm_xargs=xargs("late", "grounded", 0.6)))
        await asyncio.sleep(5)
        assert not grounded.done()
        blind = await any_mllm.ask(None, vllm_xargs=xargs("late", "blind", 0.6))
        assert [(await grounded).token_ids, blind.token_ids] == [answer.token_ids for answer in on_time]
    await any_mllm.settled()


async def test_a_twin_whose_other_half_is_refused_ends_in_time(any_mllm: Client, scenes: list[Image]) -> None:
    async with any_mllm.others_go_on(scenes[1]):
        blind = asyncio.create_task(any_mllm.ask(None, vllm_xargs=xargs("refused", "blind", 0.6)))
        grounded = await any_mllm.post(scenes[0], vllm_xargs=xargs("refused", "grounded", 0.6), n=2, temperature=1)
        assert grounded.status_code == httpx.codes.BAD_REQUEST
        answer = await blind
    assert_ended(answer, f"Twin 'refused' waited {TWIN_WAIT_S:g} s for its grounded member, which did not arrive.")
    await any_mllm.settled()


@pytest.mark.parametrize("gone", ["grounded", "blind"])
async def test_a_twin_whose_client_hangs_up_takes_the_other_with_it(
    any_mllm: Client, scenes: list[Image], gone: str
) -> None:
    images = {"grounded": scenes[0], "blind": None}
    (stays,) = images.keys() - {gone}
    twin = f"torn {gone}"
    async with any_mllm.others_go_on(scenes[1]):
        left = asyncio.create_task(any_mllm.ask(images[stays], vllm_xargs=xargs(twin, stays, 0.5), **ENDLESS))
        await any_mllm.hang_up(images[gone], vllm_xargs=xargs(twin, gone, 0.5), **ENDLESS)
        assert_ended(await left, f"Twin '{twin}' has lost its other member: it was cancelled.")
        await any_mllm.ask_pair(scenes[2], 0.5)
    await any_mllm.settled()


async def test_both_clients_of_a_pair_hang_up(any_mllm: Client, scenes: list[Image]) -> None:
    async with any_mllm.others_go_on(scenes[1]):
        grounded = any_mllm.hang_up(scenes[0], vllm_xargs=xargs("forsaken", "grounded", 0.5), **ENDLESS)
        blind = any_mllm.hang_up(None, vllm_xargs=xargs("forsaken", "blind", 0.5), **ENDLESS)
        await asyncio.gather(grounded, blind)
        await any_mllm.ask_pair(scenes[2], 0.5)
    await any_mllm.settled()


async def test_twins_that_disagree_are_both_told_so(any_mllm: Client, scenes: list[Image]) -> None:
    async with any_mllm.others_go_on(scenes[1]):
        answers = await asyncio.gather(
            any_mllm.ask(scenes[0], vllm_xargs=xargs("length", "grounded", 0.5)),
            any_mllm.ask(None, vllm_xargs=xargs("length", "blind", 0.5), max_tokens=MAX_TOKENS - 1),
            any_mllm.ask(scenes[0], vllm_xargs=xargs("ratio", "grounded", 0.5)),
            any_mllm.ask(None, vllm_xargs=xargs("ratio", "blind", 0.6)),
        )
        await any_mllm.ask_pair(scenes[2], 0.5)
    for answer in answers[:2]:
        assert_ended(answer, "Twin 'length': its members disagree on max_tokens.")
    for answer in answers[2:]:
        assert_ended(answer, "Twin 'ratio': its members disagree on judgefree_ratio.")
    await any_mllm.settled()


async def test_a_third_member_is_turned_away_and_the_pair_goes_on(any_mllm: Client, scenes: list[Image]) -> None:
    async with any_mllm.others_go_on(scenes[1]):
        first = asyncio.create_task(any_mllm.ask(scenes[0], vllm_xargs=xargs("crowd", "grounded", 0.5)))
        await any_mllm.until("judgefree_mllm_twins_in_flight", 1)
        second = await any_mllm.ask(scenes[0], vllm_xargs=xargs("crowd", "grounded", 0.5))
        blind = await any_mllm.ask(None, vllm_xargs=xargs("crowd", "blind", 0.5))
    assert_ended(second, "Twin 'crowd' already has a grounded member.")
    assert (await first).token_ids == blind.token_ids != []
    await any_mllm.settled()


async def test_two_pairs_under_one_id_are_one_pair_and_two_that_are_turned_away(
    any_mllm: Client, scenes: list[Image]
) -> None:
    roles = ["grounded", "grounded", "blind", "blind"]
    images = {"grounded": scenes[0], "blind": None}
    answers = await asyncio.gather(
        *(
            any_mllm.ask(images[role], vllm_xargs=xargs("used twice", role, 0.5), ignore_eos=True, max_tokens=300)
            for role in roles
        )
    )
    whole = [answer for answer in answers if answer.finish_reason == "length"]
    assert len(whole) == 2
    assert whole[0].token_ids == whole[1].token_ids
    for role, answer in zip(roles, answers, strict=True):
        if answer not in whole:
            assert_ended(answer, f"Twin 'used twice' already has a {role} member.")
    await any_mllm.settled()


async def test_an_id_may_be_used_again_once_its_pair_has_ended(any_mllm: Client, scenes: list[Image]) -> None:
    for scene in scenes[:3]:
        grounded, blind = await asyncio.gather(
            any_mllm.ask(scene, vllm_xargs=xargs("again", "grounded", 0.5)),
            any_mllm.ask(None, vllm_xargs=xargs("again", "blind", 0.5)),
        )
        assert grounded.token_ids == blind.token_ids != []
        assert grounded.finish_reason == "stop"
    await any_mllm.settled()
