"""The front door at a real gateway, with real vLLM and verifier behind it: the client, `submit`, `export`."""

import asyncio
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pyarrow.parquet as pq
import pytest

from judgefree import ApiError, Client, Fields, Filters
from judgefree.cli import run
from judgefree.ledger import Ledger
from judgefree.submission import submit_all
from pairs.errors import IdempotencyConflict, InvalidField, NotAnImage, QueueFull, UnknownPair
from pairs.model import Decision, Job, Method, Pair, Status, Verdict
from pairs.queue import Queue
from pairs.settings import Settings, load_settings
from tests.e2e.stack import Stack, running_stack
from tests.examples import a_job
from tests.service.pictures import picture

MOST_IN_FLIGHT = 8


@pytest.fixture(scope="module")
def stack(valkey_url: str, mllm_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A whole system with room for a few pairs at a time."""
    folder = tmp_path_factory.mktemp("front-door")
    with running_stack(folder, valkey_url, mllm_url, max_in_flight=MOST_IN_FLIGHT) as running:
        yield running


@pytest.fixture
def client(stack: Stack) -> Iterator[Client]:
    with Client(stack.gateway_url) as opened:
        yield opened


@pytest.fixture
def images(tmp_path: Path) -> list[Path]:
    """Three pictures, each another."""
    for index, side in enumerate((32, 40, 48)):
        (tmp_path / f"{index}.png").write_bytes(picture(size=(side, side)))
    return sorted(tmp_path.glob("*.png"))


def test_images_become_pairs_in_their_order(client: Client, images: list[Path]) -> None:
    pairs = client.submit(images, Fields(method=Method.DROP, max_tokens=16, seed=3), wait_s=60)
    finished = [client.wait(pair.id, 60) for pair in pairs]
    assert [pair.image.width for pair in finished] == [32, 40, 48]
    assert {pair.status for pair in finished} == {Status.DONE}
    assert {pair.hallucination.method for pair in finished} == {Method.DROP}
    assert client.image(finished[0].id).startswith(b"\x89PNG")


def test_a_wait_longer_than_the_timeout_is_waited_out(stack: Stack, images: list[Path]) -> None:
    with Client(stack.gateway_url, timeout_s=0.2, patience_s=0) as hasty:
        [pair] = hasty.submit(images[:1], Fields(seed=31), wait_s=60)
    assert pair.status is Status.DONE


def test_a_request_repeated_under_its_key_makes_no_second_pair(client: Client, images: list[Path]) -> None:
    key = str(uuid4())
    [first] = client.submit(images[:1], idempotency_key=key)
    [again] = client.submit(images[:1], idempotency_key=key)
    assert again.id == first.id
    with pytest.raises(IdempotencyConflict):
        client.submit(images[1:2], idempotency_key=key)
    client.wait(first.id)


def test_every_page_of_the_list_is_read(client: Client, images: list[Path]) -> None:
    made = {client.wait(pair.id).id for pair in client.submit(images)}
    listed = [pair.id for pair in client.list(page=1)]
    assert made <= set(listed)
    assert listed == sorted(listed, reverse=True)
    discarded = client.list(Filters(decision=Decision.DISCARDED))
    assert {pair.decision for pair in discarded} <= {Decision.DISCARDED}


def test_a_review_holds_over_the_machine_and_decides_the_export(
    client: Client, images: list[Path], tmp_path: Path
) -> None:
    [pair] = client.submit(images[:1], Fields(seed=11))
    client.wait(pair.id)
    reviewed = client.review(pair.id, Verdict.SWAP)
    assert reviewed.review is Verdict.SWAP
    assert reviewed.answers is not None
    assert reviewed.chosen == reviewed.answers.injected.text
    size = client.export(tmp_path / "pairs.parquet")
    assert size == (tmp_path / "pairs.parquet").stat().st_size
    assert pair.id in pq.read_table(tmp_path / "pairs.parquet")["id"].to_pylist()


def test_what_the_gateway_refuses_is_a_typed_error_with_its_problem(client: Client, images: list[Path]) -> None:
    with pytest.raises(NotAnImage) as refused:
        client.submit([b"a poem"])
    assert isinstance(refused.value, ApiError)
    assert refused.value.problem.status == 415
    with pytest.raises(InvalidField):
        client.submit(images[:1], Fields(method=Method.DROP, ratio=0.5))
    with pytest.raises(UnknownPair):
        client.get(uuid4().hex)


def test_a_full_queue_is_waited_out_within_the_patience(stack: Stack, tmp_path: Path) -> None:
    many = [picture(size=(side, side)) for side in range(32, 32 + MOST_IN_FLIGHT)]
    with Client(stack.gateway_url, patience_s=0) as hasty, Client(stack.gateway_url, patience_s=60) as patient:
        first = hasty.submit(many)
        with pytest.raises(QueueFull):
            hasty.submit(many, Fields(seed=2))
        second = patient.submit(many, Fields(seed=2))
        assert {patient.wait(pair.id).status for pair in (*first, *second)} == {Status.DONE}


def lines(file: Path) -> list[Pair]:
    found = [json.loads(line) for line in file.read_text().splitlines()]
    return [Pair.model_validate({name: value for name, value in one.items() if name != "file"}) for one in found]


def test_submit_writes_a_line_for_each_image_and_a_second_run_adds_nothing(
    stack: Stack, images: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "notes.txt").write_text("not an image")
    out, sheet = tmp_path / "pairs.jsonl", tmp_path / "sheet.html"
    command = ["submit", str(tmp_path), "--url", stack.gateway_url, "--out", str(out), "--seed", "5"]
    assert run([*command, "--sheet", str(sheet)]) == 0
    before = lines(out)
    assert len({pair.id for pair in before}) == 3
    assert "data:image/png;base64" in sheet.read_text()
    said = capsys.readouterr().err
    assert "notes.txt: not an image" in said
    assert "3 of 3 images" in said
    assert run(command) == 0
    assert lines(out) == before
    assert "3 from an earlier run" in capsys.readouterr().err


def test_submit_goes_on_where_a_killed_run_ended(
    stack: Stack, client: Client, images: list[Path], tmp_path: Path
) -> None:
    """Accepted and journalled, accepted and not journalled, never sent: each image has one pair in the end."""
    out, fields = tmp_path / "pairs.jsonl", Fields(seed=6)
    with Ledger(out) as ledger:
        keys = [ledger.key(image.read_bytes(), fields) for image in images]
        journalled, lost = (client.submit([images[n]], fields, idempotency_key=keys[n])[0].id for n in (0, 1))
        ledger.accept(keys[0], journalled)
    with Client(stack.gateway_url) as own, Ledger(out) as ledger:
        outcomes = {outcome.file: outcome for outcome in submit_all(own, images, fields, ledger, 2, 60)}
    ids = [outcomes[image].pair.id for image in images if outcomes[image].pair]  # type: ignore[union-attr]
    assert ids[:2] == [journalled, lost]
    assert len(set(ids)) == 3
    assert {pair.id for pair in lines(out)} == set(ids)


def test_a_broken_image_fails_alone(
    stack: Stack, images: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = images[0].read_bytes()
    (tmp_path / "broken.png").write_bytes(whole[: len(whole) // 2])
    out = tmp_path / "pairs.jsonl"
    assert run(["submit", str(tmp_path), "--url", stack.gateway_url, "--out", str(out), "--seed", "7"]) == 1
    assert len(lines(out)) == 3
    assert f"{tmp_path / 'broken.png'}: the image is truncated or damaged." in capsys.readouterr().err


def test_export_writes_both_formats(stack: Stack, client: Client, images: list[Path], tmp_path: Path) -> None:
    for pair in client.submit(images, Fields(seed=8)):
        client.wait(pair.id)
        client.review(pair.id, Verdict.KEEP)
    for kind in ("parquet", "jsonl"):
        file = tmp_path / f"pairs.{kind}"
        assert run(["export", "--url", stack.gateway_url, "--format", kind, "--out", str(file)]) == 0
    rows = pq.read_table(tmp_path / "pairs.parquet").num_rows
    assert rows == len((tmp_path / "pairs.jsonl").read_text().splitlines()) >= 3


def test_an_export_that_cannot_be_written_is_one_sentence(
    stack: Stack, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a-folder").mkdir()
    assert run(["export", "--url", stack.gateway_url, "--out", str(tmp_path / "a-folder")]) == 2
    assert capsys.readouterr().err == f"judgefree: {tmp_path}/a-folder cannot be written: Is a directory.\n"


@pytest.fixture
def requeue(stack: Stack, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Give `judgefree requeue` on the stack's queue, and take what it says."""
    for name, value in stack.environment.items():
        monkeypatch.setenv(name, value)

    def said(*words: str) -> str:
        assert run(["requeue", *words]) == 0
        return capsys.readouterr().out

    return said


def test_requeue_lists_nothing_where_nothing_is_dead(requeue: Callable[..., str]) -> None:
    assert requeue() == "0 dead letters.\n"


def test_a_dead_letter_is_listed_and_queued_again_by_its_id_and_with_all(
    stack: Stack, client: Client, requeue: Callable[..., str]
) -> None:
    lost = a_job()  # its image is nowhere
    environment = stack.environment
    settings = load_settings(redis_url=environment["JUDGEFREE_REDIS_URL"], namespace=environment["JUDGEFREE_NAMESPACE"])
    asyncio.run(put_on(settings, lost))
    for words in ([lost.id], ["--all"]):
        assert client.wait(lost.id, 60).status is Status.FAILED
        listed = requeue()
        assert f"{lost.id}  jobs  " in listed
        assert "image" in listed
        assert requeue(*words) == "1 of 1 dead letters are queued again.\n"
    assert client.wait(lost.id, 60).status is Status.FAILED


async def put_on(settings: Settings, job: Job) -> None:
    queue = await Queue.connect(settings)
    try:
        await queue.admit([job])
    finally:
        await queue.close()
