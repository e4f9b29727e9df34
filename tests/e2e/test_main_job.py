"""The main job on real parts: POST an image, get a preference pair."""

import io
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from PIL import Image

from tests.e2e.scenes import scene_pngs
from tests.e2e.stack import Stack
from tests.photographs import write_photographs

WAIT = {"Prefer": "wait=60"}


def test_an_image_becomes_a_preference_pair(stack: Stack) -> None:
    [scene] = scene_pngs(1, seed=3)
    fields = {"hallucination.ratio": "0.75", "seed": "1"}
    with stack.client() as client:
        response = client.post("/v1/pairs", files={"image": scene}, data=fields, headers=WAIT)
        assert response.status_code == 200, response.text
        [pair] = response.json()["pairs"]
        assert client.get(f"/v1/pairs/{pair['id']}").json() == pair
    assert pair["status"] == "done"
    assert pair["hallucination"] == {"method": "blend", "ratio": 0.75}
    assert pair["policy"] == {"model": "demo", "adapter": None}
    answers = pair["answers"]
    assert all(answer["finish_reason"] == "stop" and answer["text"] for answer in answers.values())
    assert (pair["decision"], pair["reason"]) == ("kept", None)
    assert (pair["chosen"], pair["rejected"]) == (answers["normal"]["text"], answers["injected"]["text"])
    assert pair["margin"] == pytest.approx(answers["normal"]["score"] - answers["injected"]["score"], abs=1e-6)
    assert pair["margin"] > 0.1


@pytest.mark.parametrize("method", ["blend", "drop", "noise", "prompt"])
def test_every_method_gives_pairs_that_say_how_they_were_made(stack: Stack, method: str) -> None:
    scenes = scene_pngs(4, seed=2)
    with stack.client() as client:
        response = client.post(
            "/v1/pairs",
            files=[("image", scene) for scene in scenes],
            data={"hallucination.method": method, "seed": "3"},
            headers=WAIT,
        )
    pairs = response.json()["pairs"]
    assert [pair["status"] for pair in pairs] == ["done"] * 4
    assert {pair["hallucination"]["method"] for pair in pairs} == {method}
    assert len({pair["hallucination"]["ratio"] for pair in pairs}) == (4 if method in ("blend", "noise") else 1)


def test_the_same_request_with_the_same_seed_gives_the_same_pair(stack: Stack) -> None:
    [scene] = scene_pngs(1, seed=4)
    fields = {"seed": "42", "temperature": "0.8"}
    contents = []
    with stack.client() as client:
        for _ in range(2):
            [pair] = client.post("/v1/pairs", files={"image": scene}, data=fields, headers=WAIT).json()["pairs"]
            contents.append((pair["hallucination"], pair["answers"], pair["decision"], pair["margin"]))
    assert contents[0] == contents[1]


def test_at_ratio_zero_the_injected_answer_is_the_normal_one(stack: Stack) -> None:
    with stack.client() as client:
        files = [("image", scene) for scene in scene_pngs(6, seed=5)]
        pairs = client.post("/v1/pairs", files=files, data={"hallucination.ratio": "0"}, headers=WAIT).json()["pairs"]
    assert all(pair["answers"]["normal"]["text"] == pair["answers"]["injected"]["text"] for pair in pairs)
    assert {(pair["decision"], pair["reason"]) for pair in pairs} == {("discarded", "equal_answers")}


def test_photographs_of_every_form_come_back_as_pairs(stack: Stack, tmp_path: Path) -> None:
    photographs = write_photographs(tmp_path)
    with stack.client() as client:
        files = [("image", path.read_bytes()) for path in photographs]
        response = client.post("/v1/pairs", files=files, headers=WAIT)
        pairs = response.json()["pairs"]
        assert [pair["status"] for pair in pairs] == ["done"] * len(photographs), response.text
        for pair in pairs:
            stored = client.get(f"/v1/pairs/{pair['id']}/image")
            picture = Image.open(io.BytesIO(stored.content))
            assert picture.size == (pair["image"]["width"], pair["image"]["height"])
            assert picture.mode == "RGB"
    rotated, huge = pairs[0]["image"], pairs[6]["image"]
    assert rotated["width"] < rotated["height"]
    assert max(huge["width"], huge["height"]) == 1536


def test_a_folder_of_photographs_is_submitted_whole(stack: Stack, tmp_path: Path) -> None:
    photographs = write_photographs(tmp_path / "photographs")
    command = ["submit", str(tmp_path / "photographs"), "--out", str(tmp_path / "pairs.jsonl")]
    done = subprocess.run(
        [sys.executable, "-P", "-m", "judgefree", *command, "--url", stack.gateway_url],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    pairs = [json.loads(line) for line in (tmp_path / "pairs.jsonl").read_text().splitlines()]
    assert sorted(Path(pair["file"]).name for pair in pairs) == sorted(path.name for path in photographs)
    assert {pair["status"] for pair in pairs} == {"done"}


@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl on this machine")
def test_curl_posts_a_photograph_as_the_first_page_says(stack: Stack, tmp_path: Path) -> None:
    photograph = write_photographs(tmp_path)[0]
    fields = ["-H", "Prefer: wait=60", "-F", f"image=@{photograph}", "-F", "hallucination.ratio=0.6"]
    said = subprocess.run(
        ["curl", "--silent", "--fail", *fields, f"{stack.gateway_url}/v1/pairs"], capture_output=True, check=True
    )
    [pair] = json.loads(said.stdout)["pairs"]
    assert (pair["status"], pair["hallucination"]) == ("done", {"method": "blend", "ratio": 0.6})


def test_the_export_holds_every_kept_and_swapped_pair(stack: Stack) -> None:
    with stack.client() as client:
        client.post("/v1/pairs", files=[("image", scene) for scene in scene_pngs(12, seed=6)], headers=WAIT)
        listed = client.get("/v1/pairs", params={"limit": 200}).json()["pairs"]
        table = pq.read_table(io.BytesIO(client.get("/v1/export", params={"format": "parquet"}).content))
    usable = {pair["id"] for pair in listed if pair["decision"] != "discarded"}
    assert set(table.column("id").to_pylist()) == usable
    assert len(usable) > 0
    first = table.slice(0, 1).to_pylist()[0]
    assert Image.open(io.BytesIO(first["images"][0]["bytes"])).size == (48, 48)
