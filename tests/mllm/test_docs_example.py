"""docs/paired-decoding.md: its command starts what our launcher starts, and its examples run as they stand there."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from tests.mllm.client import PROMPT, Client
from tests.mllm.server import MllmServer
from tests.processes import ROOT
from workers.mllm.launch import Launch, arguments
from workers.mllm.reference import TwoPass

DOCS = (ROOT / "docs" / "paired-decoding.md").read_text()
GUIDANCE, WITH_AN_IMAGE = re.findall(r"```python\n(.*?)```", DOCS, re.DOTALL)


def run_example(code: str, folder: Path, *given: str) -> list[str]:
    """The lines that an example prints."""
    script = folder / "example.py"
    script.write_text(code)
    ended = subprocess.run([sys.executable, str(script), *given], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.splitlines()


def test_the_command_for_plain_vllm_is_what_the_launcher_starts() -> None:
    (command,) = re.findall(r"```sh\n(.*?)```", DOCS, re.DOTALL)
    words = shlex.split(command.replace("\\\n", " "))
    assert words[:4] == ["VLLM_USE_V2_MODEL_RUNNER=0", "vllm", "serve", "MODEL"]
    launched = arguments(Launch("MODEL"), is_cpu=False)
    flags = words[4:]
    for flag, value in zip(flags[0::2], flags[1::2], strict=True):
        assert launched[launched.index(flag) + 1] == value
    assert {"--scheduler-cls", "--logits-processors"} < set(flags)


async def test_the_example_of_guidance_runs(mllm: Client, mllm_server: MllmServer, tmp_path: Path) -> None:
    lines = run_example(GUIDANCE, tmp_path, mllm_server.url, mllm_server.model, PROMPT, "Name the colours.")
    ordinary = await mllm.ask(None, prompt=PROMPT, max_tokens=64)
    assert lines[0] == f"1.0 {ordinary.text}"
    assert [line.split()[0] for line in lines] == ["1.0", "1.5", "2.5"]
    assert all(len(line.split()) > 3 for line in lines)


@pytest.mark.parametrize("number", [0, 13])
def test_the_example_with_an_image_runs(
    mllm_server: MllmServer, reference: TwoPass, scenes: list[Image.Image], tmp_path: Path, number: int
) -> None:
    scenes[number].save(tmp_path / "scene.png")
    lines = run_example(WITH_AN_IMAGE, tmp_path, mllm_server.url, mllm_server.model, str(tmp_path / "scene.png"))
    for line, h in zip(lines, (-0.5, 0.0, 0.6), strict=True):
        expected = reference.answer(PROMPT, scenes[number], h, 128).text
        assert line == f"{h} {[expected, expected]}"
