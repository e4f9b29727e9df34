"""The gateway on a real vLLM: from a request to candidates, whatever happens in between."""

import asyncio
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs
from structlog.typing import EventDict

from pairs.model import Candidate, Grounding, GroundingMethod, Hallucination, Job, Method, PairId, Sampling, Status
from pairs.queue import Delivery
from service.problems import TYPE_PREFIX
from tests.conftest import MakeSettings
from tests.e2e.scenes import scene_pngs
from tests.examples import a_job, a_pair
from tests.integration.meddler import meddled
from tests.integration.wire import wired
from tests.service.conftest import Served, serving
from tests.service.test_bad_input import assert_problem

SCENES = scene_pngs(8, seed=11)


async def submit(served: Served, images: list[bytes], headers: dict[str, str] | None = None, **fields: Any) -> Any:
    """The pairs that a good request is answered with."""
    data = {name.replace("__", "."): str(value) for name, value in fields.items()}
    files = [("image", ("scene.png", image)) for image in images]
    answer = await served.http.post("/v1/pairs", files=files, data=data, headers=headers)
    assert answer.status_code in (200, 202), answer.text
    assert answer.headers["location"] == f"/v1/pairs/{answer.json()['pairs'][0]['id']}"
    return answer.json()["pairs"]


async def candidates(served: Served, count: int, timeout_s: float = 120) -> dict[PairId, Delivery[Candidate]]:
    """The next `count` candidates, as a verifier would take them."""
    found: dict[PairId, Delivery[Candidate]] = {}
    deadline = time.monotonic() + timeout_s
    while len(found) < count and time.monotonic() < deadline:
        for delivery in await served.gateway.queue.take_candidates("verifier", count, 0.2):
            assert delivery.pair_id not in found
            found[delivery.pair_id] = delivery
    assert len(found) == count
    return found


async def texts(served: Served, images: list[bytes], **fields: Any) -> list[tuple[str, str]]:
    """The normal and the injected answer for each image."""
    ids = [pair["id"] for pair in await submit(served, images, **fields)]
    found = await candidates(served, len(ids))
    answers = [found[pair_id].payload for pair_id in ids]
    return [(answer.normal.text, answer.injected.text) for answer in answers]


@pytest.mark.parametrize("method", list(Method))
async def test_each_method_makes_two_answers(working: Served, method: Method) -> None:
    [pair] = await submit(working, SCENES[:1], hallucination__method=method)
    assert pair["status"] in ("queued", "generating", "verifying")
    [delivery] = (await candidates(working, 1)).values()
    candidate = delivery.payload
    assert candidate.normal.text
    assert candidate.injected.text
    assert candidate.job.id == pair["id"]
    assert candidate.job.hallucination.method is method
    assert candidate.job.hallucination.ratio == pair["hallucination"]["ratio"]
    assert candidate.policy == working.gateway.watch.served().policy
    assert set(candidate.versions) == {"judgefree", "vllm"}
    assert candidate.generation_started_at <= candidate.generated_at


async def test_many_images_come_back_in_order_each_with_a_ratio_of_its_own(working: Served) -> None:
    pairs = await submit(working, SCENES, hallucination__ratio_mean=0.5, hallucination__ratio_std=0.2)
    assert [pair["id"] for pair in pairs] == sorted(pair["id"] for pair in pairs)
    assert len({pair["hallucination"]["ratio"] for pair in pairs}) == len(SCENES)
    assert len(await candidates(working, len(SCENES))) == len(SCENES)


@pytest.mark.parametrize("temperature", [0, 1])
@pytest.mark.parametrize("method", list(Method))
async def test_the_same_request_gives_the_same_answers(working: Served, method: Method, temperature: float) -> None:
    fields = {"hallucination__method": method, "temperature": temperature, "seed": 5}
    assert await texts(working, SCENES[:3], **fields) == await texts(working, SCENES[:3], **fields)


async def test_another_seed_gives_other_samples(working: Served) -> None:
    first, second = [await texts(working, SCENES[:4], temperature=1, seed=seed) for seed in (1, 2)]
    assert first != second


async def test_without_a_blind_share_the_twins_say_what_the_model_says(working: Served) -> None:
    assert all(normal == injected for normal, injected in await texts(working, SCENES, hallucination__ratio=0))


@pytest.mark.parametrize("method", [Method.BLEND, Method.DROP])
async def test_a_contrastive_normal_answer_is_the_blend_the_other_way(working: Served, method: Method) -> None:
    contrastive: dict[str, Any] = {"grounding__method": "contrastive", "grounding__ratio": -0.4}
    blended = [injected for _, injected in await texts(working, SCENES, hallucination__ratio=-0.4)]
    normal = [normal for normal, _ in await texts(working, SCENES, hallucination__method=method, **contrastive)]
    assert normal == blended


async def test_how_the_normal_answer_was_decoded_is_kept(working: Served) -> None:
    cases: list[tuple[dict[str, Any], Grounding]] = [
        ({}, Grounding()),
        ({"grounding__method": "contrastive"}, Grounding(method=GroundingMethod.CONTRASTIVE, ratio=-0.5)),
    ]
    for fields, grounding in cases:
        [pair] = await submit(working, SCENES[:1], **fields)
        [delivery] = (await candidates(working, 1)).values()
        assert delivery.payload.job.grounding == grounding
        assert pair["grounding"] == grounding.model_dump(mode="json")


async def test_wholly_blind_twins_say_what_the_model_says_without_the_image(working: Served) -> None:
    blended = await texts(working, SCENES, hallucination__ratio=1)
    dropped = await texts(working, SCENES, hallucination__method="drop")
    assert blended == dropped


async def test_what_does_not_fit_the_context_is_refused_at_admission(working: Served) -> None:
    length = working.gateway.watch.served().max_model_len
    for fields, kind, culprit in (
        ({"prompt": "Describe the image. " * length}, "prompt-too-long", "prompt"),
        ({"max_tokens": str(length)}, "invalid-field", "max_tokens"),
    ):
        answer = await working.http.post("/v1/pairs", files={"image": SCENES[0]}, data=fields)
        assert culprit in assert_problem(answer, 422, kind)["detail"]
    assert (await working.gateway.queue.depth()).jobs == 0


async def test_a_repeated_request_gets_the_first_ones_pairs(working: Served) -> None:
    headers = {"Idempotency-Key": "mine"}
    first = await submit(working, SCENES[:2], headers)
    second = await submit(working, SCENES[:2], headers)
    assert [pair["id"] for pair in second] == [pair["id"] for pair in first]
    assert len(await candidates(working, 2)) == 2
    answer = await working.http.post("/v1/pairs", files={"image": SCENES[0]}, data={"seed": "9"}, headers=headers)
    assert (answer.status_code, answer.json()["type"]) == (409, f"{TYPE_PREFIX}idempotency-conflict")
    assert (await working.gateway.queue.depth()).jobs == 0


async def test_prefer_wait_answers_with_finished_pairs_or_with_what_there_is(working: Served) -> None:
    async def verify_one() -> None:
        [delivery] = (await candidates(working, 1)).values()
        await working.gateway.store.insert([a_pair(id=delivery.pair_id)])
        await working.gateway.queue.finish([delivery])

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(verify_one())
        started = time.monotonic()
        answer = await working.http.post("/v1/pairs", files={"image": SCENES[0]}, headers={"Prefer": "wait=50"})
    assert time.monotonic() - started < 40
    assert (answer.status_code, answer.headers["preference-applied"]) == (200, "wait=50")
    assert [pair["status"] for pair in answer.json()["pairs"]] == ["done"]
    answer = await working.http.post("/v1/pairs", files={"image": SCENES[1]}, headers={"Prefer": "wait=1"})
    assert answer.status_code == 202
    await candidates(working, 1)


def _job_on(served: Served, sha256: str, **changes: Any) -> Job:
    job = a_job(sampling=Sampling(max_tokens=32), **changes)
    return job.model_copy(update={"image": job.image.model_copy(update={"sha256": sha256})})


async def test_a_poison_job_becomes_a_dead_letter_and_stops_no_other(working: Served) -> None:
    sha256 = await working.gateway.blobs.put(SCENES[0])
    too_long = _job_on(working, sha256, prompt="many words " * 10_000)
    no_image = _job_on(working, "f" * 64)
    good = [_job_on(working, sha256) for _ in range(4)]
    await working.gateway.queue.admit([too_long, no_image, *good])
    assert set(await candidates(working, 4)) == {job.id for job in good}
    letters = {letter.pair_id: letter async for letter in working.gateway.queue.dead_letters()}
    assert "refused" in letters[too_long.id].reason
    assert "image" in letters[no_image.id].reason
    assert [letter.attempts for letter in letters.values()] == [1, 1]


async def test_what_is_logged_of_a_pair_names_it(working: Served) -> None:
    sha256 = await working.gateway.blobs.put(SCENES[0])
    good, no_image = [_job_on(working, sha256) for _ in range(3)], _job_on(working, "f" * 64)
    with capture_logs() as log:
        await working.gateway.queue.admit([*good, no_image])
        await candidates(working, len(good))
        await _until_dead(working, 1)
        await _until(lambda: len(_named(log)) == len(good) + 1)
    generated = [("generated", job.id) for job in good]
    assert sorted(_named(log)) == sorted([*generated, ("generation failed", no_image.id)])


def _named(log: Sequence[EventDict]) -> list[tuple[str, str]]:
    """The events about a pair, each with the pair that it names."""
    return [(line["event"], line["pair_id"]) for line in log if line["event"].startswith("generat")]


async def test_while_the_model_is_away_jobs_wait_unharmed(make_settings: MakeSettings, mllm_url: str) -> None:
    async with wired(mllm_url) as wire, serving(make_settings(mllm_url=wire.url, max_attempts=1)) as served:
        assert (await served.http.get("/readyz")).status_code == 200
        accepted = await submit(served, SCENES * 4)
        await asyncio.sleep(0.3)
        await wire.cut()
        assert await _readiness(served, 503) == ["model"]
        answer = await served.http.post("/v1/pairs", files={"image": SCENES[0]})
        assert answer.status_code == 503
        assert answer.json()["type"] == f"{TYPE_PREFIX}model-unavailable"
        assert int(answer.headers["retry-after"]) > 0
        await wire.mend()
        found = await candidates(served, len(accepted))
        assert set(found) == {pair["id"] for pair in accepted}
        assert (await served.gateway.queue.depth()).dead == 0
        assert await _readiness(served, 200) == []


async def _readiness(served: Served, status: int) -> list[str]:
    """The parts that are away, once the gateway is as ready as `status` says."""
    for _ in range(100):
        answer = await served.http.get("/readyz")
        if answer.status_code == status:
            break
        await asyncio.sleep(0.1)
    assert answer.status_code == status
    away: list[str] = answer.json()["away"]
    return away


async def test_a_gateway_that_ends_in_mid_work_leaves_every_pair_to_the_next(
    make_settings: MakeSettings, mllm_url: str
) -> None:
    settings = make_settings(mllm_url=mllm_url, pairer_concurrency=4, max_attempts=1)
    async with serving(settings) as served:
        accepted = await submit(served, SCENES * 4)
        await asyncio.sleep(0.5)
    async with serving(settings) as served:
        found = await candidates(served, len(accepted))
        assert set(found) == {pair["id"] for pair in accepted}
        states = await served.gateway.queue.in_flight([pair["id"] for pair in accepted])
        assert {pair.status for pair in states.values()} == {Status.VERIFYING}


async def test_a_fixed_ratio_is_kept_as_it_was_given(working: Served) -> None:
    [pair] = await submit(working, SCENES[:1], hallucination__ratio=-0.5)
    [delivery] = (await candidates(working, 1)).values()
    assert delivery.payload.job.hallucination == Hallucination(method=Method.BLEND, ratio=-0.5)
    assert pair["seed"] == delivery.payload.job.seed


async def test_unequal_twins_are_tried_again_then_rest_among_the_dead_letters(
    make_settings: MakeSettings, mllm_url: str
) -> None:
    async with (
        meddled(mllm_url) as (url, meddler),
        serving(make_settings(mllm_url=url, max_attempts=2, max_tokens=32)) as served,
    ):
        [pair] = await submit(served, SCENES[:1], hallucination__ratio=0.5)
        await _until_dead(served, 1)
        assert meddler.altered == 2
        [letter] = [letter async for letter in served.gateway.queue.dead_letters()]
        assert (letter.pair_id, letter.attempts) == (pair["id"], 2)
        assert "twins came back unequal" in letter.reason
        told = (await served.http.get(f"/v1/pairs/{pair['id']}")).json()
        assert (told["status"], told["reason"]) == ("failed", letter.reason)
        assert "judgefree_unequal_twins_total 2.0" in (await served.http.get("/metrics")).text
        meddler.is_meddling = False
        assert await served.gateway.queue.requeue(letter)
        assert set(await candidates(served, 1)) == {pair["id"]}


async def _until(holds: Callable[[], bool]) -> None:
    for _ in range(600):
        if holds():
            return
        await asyncio.sleep(0.1)
    pytest.fail("it does not hold after a minute")


async def _until_dead(served: Served, count: int) -> None:
    for _ in range(600):
        if (await served.gateway.queue.depth()).dead == count:
            return
        await asyncio.sleep(0.1)
    pytest.fail(f"there are not {count} dead letters after a minute")


async def test_what_was_accepted_is_answered_with_202_while_the_store_is_away(
    make_settings: MakeSettings, mllm_url: str, tmp_path: Path
) -> None:
    settings = make_settings(mllm_url=mllm_url, database_url=f"sqlite+aiosqlite:///{tmp_path}/disk/pairs.db")
    async with serving(settings) as served:
        shutil.rmtree(tmp_path / "disk")  # the disk went away; connections in the pool still hold the file
        await served.gateway.store.close()
        assert (await served.http.get("/v1/pairs")).status_code == 503
        [pair] = await submit(served, SCENES[:1])
        assert pair["status"] == "queued"
        assert set(await candidates(served, 1)) == {pair["id"]}
