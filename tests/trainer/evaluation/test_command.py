"""`judgefree evaluate`, run as a user runs it: against one real vLLM with the demo model and an adapter of it."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from demo.metrics import caption_figures
from demo.scenes import draw_scenes
from pairs.errors import GenerationFailed, JudgefreeError, ModelUnavailable
from pairs.settings import local_model
from pairs.torchvision_cpu import declare_missing_ops
from tests.conftest import free_port
from tests.mllm.forked import forked
from tests.mllm.server import MllmServer
from tests.processes import ROOT
from trainer.commands.evaluate import evaluate
from trainer.evaluation import Decoding, Question, Server, ask_all, open_dataset, served_name
from trainer.evaluation.errors import ModelNotServed, UnreadableDataSet

SCENES = "demo:theme_breaking:12:3"
ADAPTER = "adapted"
RANK = 4


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as PEFT saves it: small random changes to the attention of the demo's language model."""
    declare_missing_ops()
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import LlavaForConditionalGeneration

    torch.manual_seed(3)
    model = LlavaForConditionalGeneration.from_pretrained(local_model("demo", "mllm"))
    changed = LoraConfig(r=RANK, lora_alpha=RANK, init_lora_weights=False, target_modules=r".*language_model.*o_proj")
    folder = tmp_path_factory.mktemp("adapter")
    get_peft_model(model, changed).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def server(adapter: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MllmServer]:
    flags = ["--max-lora-rank", "8", "--lora-modules", f"{ADAPTER}={adapter}"]
    with forked(local_model("demo", "mllm"), *flags, log=tmp_path_factory.mktemp("mllm") / "vllm.log") as started:
        yield started


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scenes")
    open_dataset(SCENES, folder)
    return folder


def run(*flags: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "trainer.evaluation", *map(str, flags)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_an_adapter_is_evaluated_beside_its_base_on_the_same_scenes(
    server: MllmServer, cache: Path, tmp_path: Path
) -> None:
    flags = ["--adapter", ADAPTER, "--compare-with", server.model, "--max-tokens", 96]
    flags += ["--out", tmp_path / "figures.json", "--answers", tmp_path / "answers.jsonl"]
    done = run("--mllm-url", server.url, "--cache", cache, "--data", SCENES, *flags)

    assert done.returncode == 0, done.stderr
    assert all(word in done.stdout for word in ("CHAIR_i", "mean words", ADAPTER, "difference", f"{SCENES}: 12 images"))
    report = json.loads((tmp_path / "figures.json").read_text())
    (result,) = report["data"]
    assert (report["models"], report["max_tokens"], report["seed"]) == ([ADAPTER, server.model], 96, 0)
    answers = [json.loads(line) for line in (tmp_path / "answers.jsonl").read_text().splitlines()]
    present = [scene.names for scene in draw_scenes("theme_breaking", 3, range(12))]
    texts = {model: [one["text"] for one in answers if one["model"] == model] for model in report["models"]}
    assert texts[ADAPTER] != texts[server.model]
    for model, said in texts.items():
        wanted = vars(caption_figures(said, present))
        estimates = result["figures"][model]["estimates"]
        assert {name: estimates[name]["value"] for name in estimates if name in wanted} == pytest.approx(
            {name: wanted[name] for name in estimates if name in wanted}
        )
    ours, theirs = (result["figures"][model]["estimates"]["f1"]["value"] for model in report["models"])
    assert result["comparison"]["differences"]["f1"]["value"] == pytest.approx(ours - theirs)
    assert theirs > 0.4  # the demo's model sees what it describes


def test_yes_no_questions_are_asked_with_their_own_words(server: MllmServer, cache: Path, tmp_path: Path) -> None:
    rows = [
        {"question_id": k, "image": f"scene-0000{k}.png", "text": "Is there a red ring in the image?", "label": "no"}
        for k in range(4)
    ]
    (tmp_path / "pope.json").write_text("".join(json.dumps(row) + "\n" for row in rows))
    flags = ["--data", tmp_path / "pope.json", "--images", cache / "demo-theme_breaking-12-3", "--limit", 3]
    flags += ["--out", tmp_path / "figures.json", "--answers", tmp_path / "answers", "--max-tokens", 8]
    done = run("--mllm-url", server.url, *flags)

    assert done.returncode == 0, done.stderr
    answers = [json.loads(line) for line in (tmp_path / "answers").read_text().splitlines()]
    assert [one["prompt"] for one in answers] == [rows[0]["text"]] * 3
    figures = json.loads((tmp_path / "figures.json").read_text())["data"][0]["figures"][server.model]
    assert figures["units"] == 3
    assert figures["estimates"]["accuracy"]["value"] == pytest.approx(1 - figures["estimates"]["yes_ratio"]["value"])


@pytest.mark.parametrize(
    ("flags", "complaint"),
    [
        (["--adapter", ADAPTER, "--compare-with", ADAPTER], "must name another"),
        (["--data", "nowhere"], "There is no data set nowhere"),
        (["--out", "/nowhere/figures.json", "--limit", "1"], "/nowhere/figures.json cannot be written"),
        (["--pairs", "nowhere.jsonl"], r"nowhere\.jsonl cannot be read"),
    ],
)
def test_a_mistake_is_an_error_of_ours(server: MllmServer, cache: Path, flags: list[str], complaint: str) -> None:
    with pytest.raises(JudgefreeError, match=complaint):
        evaluate(["--mllm-url", server.url, "--cache", str(cache), "--data", SCENES, *flags])


@pytest.mark.parametrize(
    ("flags", "complaint"), [(["--model", "nobody"], "nobody is not served"), (["--limit", "0"], "must be at least 1")]
)
def test_a_mistake_is_said_in_one_sentence(server: MllmServer, cache: Path, flags: list[str], complaint: str) -> None:
    done = run("--mllm-url", server.url, "--cache", cache, "--data", SCENES, *flags)
    assert done.returncode == 2
    assert complaint in done.stderr
    assert "Traceback" not in done.stderr


def a_scene(cache: Path) -> Path:
    return next(cache.glob("*/scene-00000.png"))


def test_answers_come_in_the_order_of_the_questions(server: MllmServer, cache: Path) -> None:
    images = sorted(cache.glob("demo-theme_breaking-12-3/*.png"))
    client = Server(server.url, concurrency=5)
    heard: list[int] = []
    together = ask_all(
        client, server.model, [Question(image, "Describe the image.") for image in images], Decoding(24),
        lambda: heard.append(1),
    )  # fmt: skip
    alone = ask_all(client, server.model, [Question(images[7], "Describe the image.")], Decoding(24))
    assert len(heard) == len(images) == 12
    assert together[7] == alone[0]


@pytest.mark.parametrize("content", [b"", b"no image", b"\x89PNG\r\n\x1a\n"])
def test_an_image_that_is_none_is_named(server: MllmServer, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "broken.png").write_bytes(content)
    with pytest.raises(GenerationFailed, match=r"broken\.png"):
        ask_all(Server(server.url), server.model, [Question(tmp_path / "broken.png", "What?")], Decoding(8))


def test_a_prompt_that_is_too_long_is_told_with_the_models_own_words(server: MllmServer, cache: Path) -> None:
    with pytest.raises(GenerationFailed, match="context length"):
        ask_all(Server(server.url), server.model, [Question(a_scene(cache), "word " * 2_000)], Decoding(8))


def test_a_model_that_went_is_told(server: MllmServer, cache: Path) -> None:
    with pytest.raises(ModelNotServed, match="gone is not served"):
        ask_all(Server(server.url), "gone", [Question(a_scene(cache), "What?")], Decoding(8))


def test_missing_images_are_counted_before_anything_is_asked(tmp_path: Path) -> None:
    nowhere = Server(f"http://127.0.0.1:{free_port()}")
    with pytest.raises(UnreadableDataSet, match="2 images are missing, the first is"):
        ask_all(nowhere, "any", [Question(tmp_path / name, "What?") for name in ("a", "b", "a")], Decoding(8))


def test_a_server_that_is_away_is_told() -> None:
    with pytest.raises(ModelUnavailable, match="No model can be reached at"):
        served_name(Server(f"http://127.0.0.1:{free_port()}"), None)
