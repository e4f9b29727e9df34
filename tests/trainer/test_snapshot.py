"""Snapshots: the same pairs give the same hash wherever they rest, and a data set is of those pairs or of none."""

import asyncio
import io
import json
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pairs.blobs import Blobs
from pairs.clock import now
from pairs.errors import JudgefreeError
from pairs.model import Decision, ImageRef, Pair, Policy, Verdict
from pairs.settings import Settings, local_model
from pairs.store import PairFilter, Store
from service.export import SCHEMA, row
from tests.examples import a_pair
from trainer.rows import ParquetSource, Row, StoreSource, UnreadableSource
from trainer.snapshot import Digest, SnapshotChanged, dataset, pin

ROOT = Path(__file__).parents[2]
QUERIES = [
    None,
    PairFilter(),
    PairFilter(decision=Decision.SWAPPED),
    PairFilter(verdicts=(Verdict.SWAP,)),
    PairFilter(min_margin=0.35),
    PairFilter(policy="tiny"),
    PairFilter(policy="tiny@round-1"),
    PairFilter(since=now() - timedelta(minutes=30)),
]


def a_png(shade: int) -> bytes:
    written = io.BytesIO()
    Image.new("RGB", (48, 48), (shade, 2 * shade, 255 - shade)).save(written, "PNG")
    return written.getvalue()


async def _fill(settings: Settings) -> list[tuple[Pair, bytes]]:
    store, blobs = await Store.open(settings.store_url), Blobs(settings.images_url)
    filled = []
    for index in range(20):
        png = a_png(index)
        image = ImageRef(sha256=await blobs.put(png), width=48, height=48, media_type="image/png")
        changes = {
            "image": image,
            "margin": 0.3 + index / 100,
            "policy": Policy(model="tiny", adapter="round-1" if index % 3 == 0 else None),
            "created_at": now() - timedelta(hours=index % 2),
        }
        filled.append((a_pair(list(Decision)[index % 3], **changes), png))
    await store.insert([pair for pair, _ in filled])
    reviewed = {index: await store.review(filled[index][0].id, Verdict.SWAP) for index in (0, 2)}
    await store.close()
    return [(reviewed.get(index, pair), png) for index, (pair, png) in enumerate(filled)]


def write_parquet(path: Path, filled: list[tuple[Pair, bytes]]) -> Path:
    """The file that the gateway's export of these pairs is."""
    pq.write_table(pa.Table.from_pylist([row(pair, png) for pair, png in filled], SCHEMA), path)
    return path


@pytest.fixture
def filled(settings: Settings) -> list[tuple[Pair, bytes]]:
    return asyncio.run(_fill(settings))


@pytest.fixture
def source(settings: Settings, filled: list[tuple[Pair, bytes]]) -> StoreSource:
    return StoreSource(settings.store_url, settings.images_url)


@pytest.mark.parametrize("query", QUERIES, ids=str)
def test_an_export_and_the_store_it_came_from_give_the_same_snapshot(
    source: StoreSource, filled: list[tuple[Pair, bytes]], tmp_path: Path, query: PairFilter | None
) -> None:
    exported = ParquetSource(write_parquet(tmp_path / "pairs.parquet", filled[::-1]))
    here, there = pin(source, query), pin(exported, query)
    assert (here.count, here.sha256) == (there.count, there.sha256)
    assert 0 < here.count <= 15  # of 20, 6 are discarded, one of these is swapped by a review


def test_a_review_makes_another_snapshot(
    source: StoreSource, settings: Settings, filled: list[tuple[Pair, bytes]]
) -> None:
    before = pin(source)
    asyncio.run(_review(settings, filled[3][0], Verdict.SWAP))
    after = pin(source)
    assert after.count == before.count
    assert after.sha256 != before.sha256


def test_a_data_set_is_what_was_pinned(source: StoreSource, filled: list[tuple[Pair, bytes]], tmp_path: Path) -> None:
    snapshot = pin(source)
    made = dataset(snapshot, source, str(tmp_path / "cache"))
    expected = {pair.id: (pair, png) for pair, png in filled if pair.chosen is not None}
    assert len(made) == snapshot.count == len(expected)
    for found in made:
        pair, png = expected[found["id"]]
        assert found["prompt"] == [{"role": "user", "content": pair.prompt}]
        assert found["chosen"] == [{"role": "assistant", "content": pair.chosen}]
        assert found["rejected"] == [{"role": "assistant", "content": pair.rejected}]
        assert found["margin"] == pair.margin
        assert found["images"][0].tobytes() == Image.open(io.BytesIO(png)).tobytes()


def test_pairs_that_changed_since_make_no_data_set(
    source: StoreSource, settings: Settings, filled: list[tuple[Pair, bytes]], tmp_path: Path
) -> None:
    snapshot = pin(source)
    asyncio.run(_review(settings, filled[3][0], Verdict.DISCARD))
    with pytest.raises(SnapshotChanged, match="pin a new one"):
        dataset(snapshot, source, str(tmp_path / "cache"))


def test_trl_takes_the_rows_as_they_are(source: StoreSource, tmp_path: Path) -> None:
    from pairs.torchvision_cpu import declare_missing_ops

    declare_missing_ops()
    from transformers import AutoProcessor
    from trl.trainer.dpo_trainer import DataCollatorForVisionPreference

    made = dataset(pin(source), source, str(tmp_path / "cache"))
    processor = AutoProcessor.from_pretrained(local_model("demo", "mllm"))
    batch = DataCollatorForVisionPreference(processor)([made[index] for index in range(4)])
    assert batch["input_ids"].shape[0] == 8  # four chosen, four rejected
    assert batch["pixel_values"].shape[0] == 8
    answers = [
        processor.tokenizer.decode(ids[mask.bool()], skip_special_tokens=True)
        for ids, mask in zip(batch["input_ids"], batch["completion_mask"], strict=True)
    ]
    wanted = [made[index][name][0]["content"] for name in ("chosen", "rejected") for index in range(4)]
    plain = [
        processor.tokenizer.decode(processor.tokenizer(text).input_ids, skip_special_tokens=True) for text in wanted
    ]
    assert [text.strip() for text in answers] == [text.strip() for text in plain]


def test_a_file_that_is_no_export_is_said_in_one_sentence(tmp_path: Path) -> None:
    other = tmp_path / "other.parquet"
    pq.write_table(pa.table({"id": ["a"]}), other)
    text = tmp_path / "text.parquet"
    text.write_text("no Parquet")
    for path in (other, text, tmp_path / "none.parquet"):
        with pytest.raises(UnreadableSource, match=path.name):
            ParquetSource(path)


def test_an_image_that_is_not_the_one_named_is_refused(filled: list[tuple[Pair, bytes]], tmp_path: Path) -> None:
    swapped = [(pair, a_png(200)) for pair, _ in filled]
    exported = ParquetSource(write_parquet(tmp_path / "pairs.parquet", swapped))
    with pytest.raises(JudgefreeError, match="SHA-256"):
        dataset(pin(exported), exported, str(tmp_path / "cache"))


@pytest.fixture
def flags(settings: Settings, filled: list[tuple[Pair, bytes]]) -> list[str]:
    return ["--data-dir", str(settings.data_dir)]


def test_the_command_prints_the_snapshot(source: StoreSource, flags: list[str]) -> None:
    printed = subprocess.run(
        [sys.executable, "-m", "trainer", "snapshot", *flags, "--verdict", "swap", "--min-margin", "0.3"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    expected = pin(source, PairFilter(verdicts=(Verdict.SWAP,), min_margin=0.3))
    found = json.loads(printed.stdout)
    assert (found["count"], found["sha256"]) == (expected.count, expected.sha256)
    assert found["query"]["verdicts"] == ["swap"]


ROWS = st.builds(Row, st.text(), st.text(), st.text(), st.text(), st.text(), st.none() | st.floats(-2, 2))


@given(st.lists(ROWS, max_size=6), st.randoms())
def test_the_hash_does_not_depend_on_the_order(found: list[Row], random: "st.random_module") -> None:  # type: ignore[valid-type]
    shuffled = list(found)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert digest(found) == digest(shuffled)


@given(st.lists(ROWS, min_size=1, max_size=6), ROWS)
def test_another_row_is_another_hash(found: list[Row], other: Row) -> None:
    assert digest(found) != digest([*found, other])
    if other != found[0]:
        assert digest(found) != digest([other, *found[1:]])


def digest(found: list[Row]) -> str:
    made = Digest()
    for one in found:
        made.add(one)
    return made.sha256


async def _review(settings: Settings, pair: Pair, verdict: Verdict) -> None:
    store = await Store.open(settings.store_url)
    await store.review(pair.id, verdict)
    await store.close()
