"""The export: read back by `datasets` as images and conversations, and taken by TRL's own code."""

import base64
import io
import json
from pathlib import Path

import datasets
import pyarrow.parquet as pq
import pytest
from PIL import Image

from pairs.model import Decision, Pair, Verdict
from pairs.settings import DEMO, local_model
from pairs.torchvision_cpu import declare_missing_ops
from tests.examples import a_pair
from tests.service.conftest import Served
from tests.service.pictures import picture


async def _stored(served: Served, count: int = 3) -> list[Pair]:
    """Kept, swapped and discarded pairs in turn, with images of their own."""
    made = []
    for index in range(count):
        sha256 = await served.gateway.blobs.put(picture(size=(20 + index, 30)))
        pair = a_pair(list(Decision)[index % 3])
        made.append(pair.model_copy(update={"image": pair.image.model_copy(update={"sha256": sha256})}))
    await served.gateway.store.insert(made)
    return made


async def _parquet(served: Served, folder: Path, query: str = "") -> Path:
    answer = await served.http.get(f"/v1/export?format=parquet{query}")
    assert answer.status_code == 200, answer.text
    path = folder / "pairs.parquet"
    path.write_bytes(answer.content)
    return path


async def test_datasets_reads_images_and_conversations(served: Served, tmp_path: Path) -> None:
    kept, swapped, _ = await _stored(served)
    path = await _parquet(served, tmp_path)
    rows = datasets.load_dataset("parquet", data_files=str(path), split="train", cache_dir=str(tmp_path / "cache"))
    assert rows["id"] == [kept.id, swapped.id]
    first = rows[0]
    assert [image.size for image in first["images"]] == [(20, 30)]
    assert first["prompt"] == [{"role": "user", "content": kept.prompt}]
    assert first["chosen"] == [{"role": "assistant", "content": kept.chosen}]
    assert first["hallucination.ratio"] == 0.5
    assert first["answers.injected.text"] == "There is a blue ring."
    assert first["answers.normal.sentences"] == [{"text": "There is a red ring.", "score": 0.6}]


async def test_trl_collates_the_rows_as_they_are(served: Served, tmp_path: Path) -> None:
    declare_missing_ops()
    from transformers import AutoProcessor
    from trl.trainer.dpo_trainer import DataCollatorForVisionPreference

    await _stored(served)
    path = await _parquet(served, tmp_path)
    rows = datasets.load_dataset("parquet", data_files=str(path), split="train", cache_dir=str(tmp_path / "cache"))
    processor = AutoProcessor.from_pretrained(local_model(DEMO, "mllm"))
    batch = DataCollatorForVisionPreference(processor)(list(rows))
    told = processor.tokenizer.batch_decode(batch["input_ids"], skip_special_tokens=True)
    assert [text.count("There is a red ring.") for text in told] == [1, 0, 0, 1]  # chosen, chosen, rejected, rejected
    assert all(rows[0]["prompt"][0]["content"] in text for text in told)
    assert len(batch["pixel_values"]) == 4
    answers = processor.tokenizer.decode(batch["input_ids"][0][batch["completion_mask"][0].bool()])
    assert "There is a red ring." in answers
    assert "Describe" not in answers


async def test_both_formats_have_the_same_rows(served: Served, tmp_path: Path) -> None:
    await _stored(served, 7)
    table = pq.read_table(await _parquet(served, tmp_path, "&verdict=keep&verdict=swap&verdict=discard")).to_pylist()
    answer = await served.http.get("/v1/export?format=jsonl&verdict=keep&verdict=swap&verdict=discard")
    lines = [json.loads(line) for line in answer.text.splitlines()]
    assert len(lines) == len(table) == 7
    for line, row in zip(lines, table, strict=True):
        assert set(line) == set(row)
        for image in line["images"]:
            image["bytes"] = base64.b64decode(image["bytes"])
            assert Image.open(io.BytesIO(image["bytes"])).height == 30
        assert line == row


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", [Decision.KEPT, Decision.SWAPPED]),
        ("&verdict=discard", [Decision.DISCARDED]),
        ("&decision=kept", [Decision.KEPT]),
        ("&policy=tiny", [Decision.KEPT, Decision.SWAPPED]),
        ("&policy=other", []),
        ("&min_margin=0.5", []),
        ("&since=2999-01-01T00:00:00", []),
    ],
)
async def test_filters(served: Served, tmp_path: Path, query: str, expected: list[Decision]) -> None:
    await _stored(served)
    table = pq.read_table(await _parquet(served, tmp_path, query)).to_pylist()
    assert [row["decision"] for row in table] == expected
    lines = (await served.http.get(f"/v1/export?format=jsonl{query}")).text.splitlines()
    assert [json.loads(line)["decision"] for line in lines] == expected


async def test_a_review_moves_a_pair_in_and_out(served: Served, tmp_path: Path) -> None:
    kept, _, discarded = await _stored(served)
    for pair, verdict in ((kept, Verdict.DISCARD), (discarded, Verdict.SWAP)):
        answer = await served.http.put(f"/v1/pairs/{pair.id}/review", json={"verdict": verdict})
        assert answer.json()["review"] == verdict
    rows = {row["id"]: row for row in pq.read_table(await _parquet(served, tmp_path)).to_pylist()}
    assert kept.id not in rows
    assert rows[discarded.id]["chosen"] == [{"role": "assistant", "content": "There is a blue ring."}]
    assert rows[discarded.id]["decision"] == Decision.DISCARDED


async def test_an_export_whose_image_is_gone_fails_before_it_begins(served: Served) -> None:
    await served.gateway.store.insert([a_pair()])
    for form in ("parquet", "jsonl"):
        answer = await served.http.get(f"/v1/export?format={form}")
        assert (answer.status_code, answer.json()["type"]) == (503, "urn:judgefree:problem:store-unavailable")
