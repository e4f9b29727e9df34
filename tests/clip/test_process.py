"""`python -m workers.clip` as a real process: killed, ended, asked for its health, given wrong settings."""

import asyncio
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.clip.conftest import ROOT, StartVerifier, VerifierProcess, World, eventually


async def _is_ready(world: World) -> bool:
    try:
        async with httpx.AsyncClient() as client:
            answer = await client.get(f"http://127.0.0.1:{world.settings.verifier_port}/readyz")
    except httpx.TransportError:
        return False
    return answer.status_code == 200


async def test_a_pair_survives_kill_of_the_verifier_between_store_and_ack(
    world: World, start_verifier: StartVerifier
) -> None:
    candidate = await world.candidate(1)
    image = world.settings.data_dir / "images" / candidate.job.image.sha256[:2] / candidate.job.image.sha256
    content = image.read_bytes()
    image.unlink()
    image.mkdir()  # the image store is away: the verifier takes the candidate, and waits
    await world.enqueue(candidate)
    first = start_verifier()
    await eventually(lambda: _says(first, "images_away"))
    await world.queue.redis.execute_command("CLIENT", "PAUSE", 60_000, "WRITE")  # nothing can be acknowledged now
    try:
        image.rmdir()
        image.write_bytes(content)
        await eventually(lambda: _has_stored(world, 1))
        first.process.kill()
        first.process.wait()
        await asyncio.sleep(0.3)  # for Valkey to see that its client is gone
    finally:
        await world.queue.redis.execute_command("CLIENT", "UNPAUSE")
    assert (await world.queue.depth()).candidates == 1
    [before] = await world.stored()
    second = start_verifier()
    depth = await world.settled()
    assert [before] == await world.stored()
    assert depth.dead == 0
    assert second.end(signal.SIGTERM) == 0


async def test_a_verifier_that_is_told_to_stop_settles_what_it_holds(
    world: World, start_verifier: StartVerifier
) -> None:
    verifier = start_verifier(batch_size=4)
    await eventually(lambda: _is_ready(world))
    accepted = await world.enqueue_some(60)
    await eventually(lambda: _has_stored(world, 1))
    assert verifier.end(signal.SIGTERM) == 0
    stored = [pair.id for pair in await world.stored()]
    left = (await world.queue.depth()).candidates
    assert len(stored) + left == len(accepted)
    taken = await world.queue.redis.xpending(f"{{{world.settings.namespace}}}:candidates", "workers")
    assert taken["pending"] == 0


async def test_health_and_metrics_are_served(world: World, start_verifier: StartVerifier) -> None:
    verifier = start_verifier()
    await eventually(lambda: _is_ready(world))
    await world.enqueue_some(3)
    await world.settled()
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{world.settings.verifier_port}") as client:
        assert (await client.get("/healthz")).text == "ok\n"
        assert (await client.get("/elsewhere")).status_code == 404
        metrics = (await client.get("/metrics")).text
    assert "judgefree_verifier_batch_size_count" in metrics
    assert 'judgefree_verifier_stage_seconds_count{stage="encode"}' in metrics
    assert "judgefree_verifier_margin_bucket" in metrics
    assert {event["pair_id"] for event in verifier.events() if event["event"] == "pair_verified"} == {
        pair.id for pair in await world.stored()
    }
    assert verifier.end(signal.SIGINT) == 0


async def test_a_pair_names_the_scorer_that_the_setting_asks_for(world: World, start_verifier: StartVerifier) -> None:
    start_verifier(scorer="phrase")
    await world.enqueue_some(1)
    await world.settled()
    assert [pair.verifier and pair.verifier.scorer for pair in await world.stored()] == ["phrase"]


async def test_a_verifier_without_redis_lives_and_is_not_ready(world: World, start_verifier: StartVerifier) -> None:
    verifier = start_verifier(redis_url="redis://127.0.0.1:1/0")
    await eventually(lambda: _says(verifier, "queue_away"))
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{world.settings.verifier_port}") as client:
        assert (await client.get("/healthz")).status_code == 200
        assert (await client.get("/readyz")).status_code == 503
    assert verifier.end(signal.SIGTERM) == 0


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--clip", "./nowhere"], "nowhere"),
        (["--margin-threshold", "3"], "margin_threshold"),
    ],
)
def test_a_wrong_setting_is_one_sentence_and_exit_2(world: World, tmp_path: Path, flags: list[str], said: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "workers.clip", *flags, "--verifier-port", str(world.settings.verifier_port)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 2
    assert said in ended.stderr
    assert "Traceback" not in ended.stderr


async def _says(verifier: VerifierProcess, event: str) -> bool:
    return any(found["event"] == event for found in verifier.events())


async def _has_stored(world: World, count: int) -> bool:
    return len(await world.stored()) >= count
