"""Snapshots: the same pairs make the same snapshot wherever they rest, and what was written down never changes."""

import asyncio
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

from pairs.clock import now
from pairs.model import Decision, Policy, Verdict
from pairs.settings import Settings
from pairs.store import PairFilter
from tests.trainer.conftest import Filled, a_png, review, write_parquet
from trainer.rows import ParquetSource, StoreSource, UnreadableSource
from trainer.selection import TRAINABLE, Selection
from trainer.snapshot import SCHEMA, DamagedSnapshot, Digest, EmptySelection, Snapshots, UnknownSnapshot

ROOT = Path(__file__).parents[2]
QUERIES = {
    "trainable": PairFilter(verdicts=TRAINABLE),
    "all": PairFilter(),
    "swapped": PairFilter(decision=Decision.SWAPPED),
    "verdict swap": PairFilter(verdicts=(Verdict.SWAP,)),
    "margin": PairFilter(min_margin=0.35),
    "policy": PairFilter(policy="tiny"),
    "adapter": PairFilter(policy="tiny@round-1"),
    "since": PairFilter(since=now() - timedelta(minutes=30)),
}


@pytest.mark.parametrize("query", QUERIES.values(), ids=QUERIES)
def test_an_export_and_the_store_it_came_from_make_the_same_snapshot(
    source: StoreSource, snapshots: Snapshots, settings: Settings, filled: Filled, tmp_path: Path, query: PairFilter
) -> None:
    exported = ParquetSource(write_parquet(tmp_path / "pairs.parquet", filled[::-1]))
    elsewhere = Snapshots(f"file://{tmp_path}/elsewhere", f"file://{tmp_path}/images")
    here, there = snapshots.take(source, Selection(query)), elsewhere.take(exported, Selection(query))
    assert (here.count, here.sha256) == (there.count, there.sha256)
    assert 0 < here.count <= 15  # of 20, 6 are discarded, one of these is swapped by a review


def test_taking_the_same_pairs_again_makes_no_second_snapshot(source: StoreSource, snapshots: Snapshots) -> None:
    first = snapshots.take(source)
    assert snapshots.take(source) == first
    assert snapshots.all() == [first]


def test_a_review_makes_another_snapshot_and_leaves_the_first_as_it_was(
    source: StoreSource, snapshots: Snapshots, settings: Settings, filled: Filled, tmp_path: Path
) -> None:
    before = snapshots.take(source)
    rows = snapshots.file(before, tmp_path).read_bytes()
    asyncio.run(review(settings, filled[3][0], Verdict.SWAP))
    after = snapshots.take(source)
    assert after.count == before.count
    assert after.sha256 != before.sha256
    assert snapshots.all() == [before, after]
    assert snapshots.file(before, tmp_path).read_bytes() == rows


def test_the_manifest_says_what_was_taken(source: StoreSource, snapshots: Snapshots, filled: Filled) -> None:
    taken = snapshots.take(source, Selection(held_out=0.3))
    usable = [pair for pair, _ in filled if pair.chosen is not None]
    assert taken.count == len(usable) == sum(taken.verdicts.values()) == sum(taken.methods.values())
    assert taken.verdicts["swap"] == sum(pair.verdict is Verdict.SWAP for pair in usable)
    adapted = sum(pair.policy == Policy(model="tiny", adapter="round-1") for pair in usable)
    assert taken.policies == {"tiny": taken.count - adapted, "tiny@round-1": adapted}
    assert 0 < taken.held_out < taken.count
    assert taken.selection["held_out"] == 0.3


def test_the_margin_is_that_of_the_chosen_answer(
    source: StoreSource, snapshots: Snapshots, filled: Filled, tmp_path: Path
) -> None:
    rows = pq.read_table(snapshots.file(snapshots.take(source), tmp_path)).to_pylist()
    margins = {row["id"]: row["margin"] for row in rows}
    overruled = filled[0][0]  # kept by the verifier, swapped by a person
    for pair, _ in filled:
        if pair.chosen is not None and pair.margin is not None:
            sign = -1 if pair.id in (overruled.id, filled[2][0].id) else 1
            assert margins[pair.id] == sign * abs(pair.margin)


def test_nothing_to_take_is_said(source: StoreSource, snapshots: Snapshots) -> None:
    with pytest.raises(EmptySelection, match="widen"):
        snapshots.take(source, Selection(PairFilter(policy="another")))
    assert snapshots.all() == []


def test_a_snapshot_that_was_changed_is_not_trained_on(
    source: StoreSource, snapshots: Snapshots, tmp_path: Path
) -> None:
    taken = snapshots.take(source)
    file = snapshots.file(taken, tmp_path)
    rows = pq.read_table(file).to_pylist()
    rows[0]["chosen"] = "Another."
    pq.write_table(pa.Table.from_pylist(rows, SCHEMA), file)
    with pytest.raises(DamagedSnapshot, match="not those it names"):
        snapshots.file(taken, tmp_path)
    file.write_bytes(b"no Parquet")
    with pytest.raises(DamagedSnapshot, match="cannot be read"):
        snapshots.file(taken, tmp_path)


@pytest.mark.parametrize("name", ["", "0123456789ab"])
def test_a_snapshot_that_is_not_there_is_said(source: StoreSource, snapshots: Snapshots, name: str) -> None:
    snapshots.take(source)
    with pytest.raises(UnknownSnapshot, match="judgefree snapshots"):
        snapshots.find(name)


def test_snapshots_may_rest_in_another_file_system(source: StoreSource, settings: Settings, tmp_path: Path) -> None:
    remote = Snapshots("memory://snapshots", settings.images_url)
    taken = remote.take(source)
    assert remote.find(taken.name[:6]) == taken
    assert pq.read_table(remote.file(taken, tmp_path / "cache")).num_rows == taken.count


def test_a_file_that_is_no_export_is_said_in_one_sentence(tmp_path: Path) -> None:
    other = tmp_path / "other.parquet"
    pq.write_table(pa.table({"id": ["a"]}), other)
    text = tmp_path / "text.parquet"
    text.write_text("no Parquet")
    for path in (other, text, tmp_path / "none.parquet"):
        with pytest.raises(UnreadableSource, match=path.name):
            ParquetSource(path)


def test_an_image_that_is_not_the_one_named_is_refused(filled: Filled, snapshots: Snapshots, tmp_path: Path) -> None:
    swapped = [(pair, a_png(200)) for pair, _ in filled]
    exported = ParquetSource(write_parquet(tmp_path / "pairs.parquet", swapped))
    with pytest.raises(UnreadableSource, match="SHA-256"):
        snapshots.take(exported)


def test_the_commands_print_the_snapshot_and_list_it(
    source: StoreSource, snapshots: Snapshots, settings: Settings
) -> None:
    where = ["--data-dir", str(settings.data_dir)]
    found = json.loads(_trainer("snapshot", *where, "--decision", "swapped", "--min-margin", "0.3").stdout)
    expected = snapshots.take(source, Selection(PairFilter(Decision.SWAPPED, TRAINABLE, 0.3)))
    assert (found["count"], found["sha256"]) == (expected.count, expected.sha256)
    assert expected.name in _trainer("snapshots", *where).stdout
    nothing = _trainer("snapshot", *where, "--policy", "another")
    assert nothing.returncode == 2
    assert nothing.stderr.count("\n") == 1


def _trainer(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "trainer", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


ROWS = st.fixed_dictionaries(
    {name: st.none() | st.floats(-2, 2) if name == "margin" else st.text() for name in SCHEMA.names}
)


@given(st.lists(ROWS, max_size=6), st.data())
def test_the_hash_does_not_depend_on_the_order(found: list[dict[str, object]], data: st.DataObject) -> None:
    assert digest(found) == digest(data.draw(st.permutations(found)))


@given(st.lists(ROWS, min_size=1, max_size=6), ROWS)
def test_another_row_is_another_hash(found: list[dict[str, object]], other: dict[str, object]) -> None:
    assert digest(found) != digest([*found, other])
    if other != found[0]:
        assert digest(found) != digest([other, *found[1:]])


def digest(found: list[dict[str, object]]) -> str:
    made = Digest()
    for one in found:
        made.add(one)
    return made.sha256
