"""The data sets of a snapshot: its rows as TRL takes them, their images fetched only when a row is read."""

import io
import pickle
from pathlib import Path

import pytest
from PIL import Image

from pairs.settings import Settings, local_model
from pairs.torchvision_cpu import declare_missing_ops
from tests.trainer.conftest import Filled
from trainer.dataset import MissingImage, split
from trainer.rows import StoreSource
from trainer.selection import Selection, is_held_out
from trainer.snapshot import Snapshots


def test_the_rows_are_those_of_the_snapshot(
    source: StoreSource, snapshots: Snapshots, filled: Filled, tmp_path: Path
) -> None:
    data = split(snapshots, snapshots.take(source, Selection(held_out=0.3)), tmp_path)
    expected = {pair.id: (pair, png) for pair, png in filled if pair.chosen is not None}
    assert {*data.train["id"], *data.held_out["id"]} == set(expected)
    assert len(data.held_out) > 0
    for rows, is_out in ((data.train, False), (data.held_out, True)):
        for found in rows:
            pair, png = expected[found["id"]]
            assert is_held_out(pair.image.sha256, 0.3) is is_out
            assert found["prompt"] == [{"role": "user", "content": pair.prompt}]
            assert found["chosen"] == [{"role": "assistant", "content": pair.chosen}]
            assert found["rejected"] == [{"role": "assistant", "content": pair.rejected}]
            assert found["images"][0].tobytes() == Image.open(io.BytesIO(png)).tobytes()


def test_an_image_is_read_when_its_row_is(
    source: StoreSource, snapshots: Snapshots, settings: Settings, filled: Filled, tmp_path: Path
) -> None:
    data = split(snapshots, snapshots.take(source), tmp_path).train
    sound, gone = data[0]["id"], data[1]["id"]
    digest = next(pair.image.sha256 for pair, _ in filled if pair.id == gone)
    Path(settings.images_url.removeprefix("file://"), digest[:2], digest).unlink()
    assert data[0]["id"] == sound
    with pytest.raises(MissingImage, match="restore it"):
        data[1]


def test_the_rows_may_be_read_in_another_process(source: StoreSource, snapshots: Snapshots, tmp_path: Path) -> None:
    data = split(snapshots, snapshots.take(source), tmp_path).train
    assert data[0]["images"][0].size == pickle.loads(pickle.dumps(data))[0]["images"][0].size


def test_trl_takes_the_rows_as_they_are(source: StoreSource, snapshots: Snapshots, tmp_path: Path) -> None:
    declare_missing_ops()
    from transformers import AutoProcessor

    from trainer.preference import MARGINS, MarginCollator

    data = split(snapshots, snapshots.take(source), tmp_path).train
    rows = [data[index] for index in range(4)]
    processor = AutoProcessor.from_pretrained(local_model("demo", "mllm"))
    batch = MarginCollator(processor)([dict(row) for row in rows])
    assert batch["input_ids"].shape[0] == batch["pixel_values"].shape[0] == 8  # four chosen, four rejected
    assert batch[MARGINS].tolist() == pytest.approx([row["margin"] for row in rows])
    answers = [
        processor.tokenizer.decode(ids[mask.bool()], skip_special_tokens=True).strip()
        for ids, mask in zip(batch["input_ids"], batch["completion_mask"], strict=True)
    ]
    wanted = [row[name][0]["content"] for name in ("chosen", "rejected") for row in rows]
    tokenizer = processor.tokenizer
    assert answers == [tokenizer.decode(tokenizer(text).input_ids, skip_special_tokens=True).strip() for text in wanted]
