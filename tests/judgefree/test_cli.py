"""The command line: every command helps, and a mistake costs one sentence and exit code 2."""

import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from judgefree.cli import run
from tests.conftest import free_port
from tests.service.pictures import picture

OWN_COMMANDS = ["up", "demo", "submit", "export", "requeue", "adapters", "rollback", "doctor", "version"]
_INSTALLED = str(Path(sys.executable).with_name("judgefree"))
PROGRAMS = {"gateway": "service", "mllm": "workers.mllm", "verifier": "workers.clip"}


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty working directory, and ports where nothing is."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("JUDGEFREE_PORT", str(free_port()))
    monkeypatch.setenv("JUDGEFREE_REDIS_URL", f"redis://127.0.0.1:{free_port()}/0")


@pytest.mark.parametrize("command", OWN_COMMANDS)
def test_every_command_has_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([command, "--help"]) == 0
    assert "Usage" in capsys.readouterr().out


@pytest.mark.parametrize(("command", "module"), [*PROGRAMS.items(), ("demo-train", "demo train")])
def test_the_programs_help_is_their_own_beside_folders_that_are_called_like_rooms(
    command: str, module: str, tmp_path: Path
) -> None:
    for name in ("service", "workers", "demo", "trainer"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise SystemExit('not this one')")
    helped = subprocess.run([_INSTALLED, command, "--help"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert helped.returncode == 0, helped.stderr
    assert f"python -m {module}" in helped.stdout


def test_it_is_a_module_too() -> None:
    root = Path(__file__).parents[2]
    said = subprocess.run(
        [sys.executable, "-m", "judgefree", "version"], cwd=root, capture_output=True, text=True, check=False
    )
    assert said.returncode == 0, said.stderr


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["nonsense"], "No such command 'nonsense'"),
        (["up", "--port", "many"], "Invalid value for '--port'"),
        (["up", "--port", "70000"], "setting port = 70000 (from the command line)"),
        (["up", "--model", "./nowhere"], "There is no model folder ./nowhere"),
        (["submit"], "Missing argument"),
        (["submit", "nowhere.png"], "There is no file or folder nowhere.png"),
        (["submit", "*.png"], "No file matches *.png"),
        (["submit", "notes.txt"], "There is no image among the given paths"),
        (["submit", "notes.txt", "--ratio", "7"], "--ratio: Input should be less than or equal to 2"),
        (["export", "--out", "nowhere/pairs.parquet"], "There is no folder nowhere"),
        (["export", "--out", "x", "--format", "csv"], "'csv' is not one of 'parquet', 'jsonl'"),
        (["export", "--out", "x", "--url", "nowhere"], "nowhere is no URL of a gateway"),
        (["export", "--out", "x", "--url", "http://[::1"], "http://[::1 is no URL of a gateway"),
        (["submit", "~nobody-of-that-name/x"], "There is no file or folder ~nobody-of-that-name/x"),
        (["requeue", "an-id", "--all"], "Give either ids or --all"),
        (["rollback"], "The model is served as it is; there is nothing to go back to."),
        (["rollback", "round-9"], "adapter: demo has no adapter round-9; there are base."),
        (["up", "--max-lora-rank", "12"], "must be 0 (no adapters) or one of vLLM's 1, 8, 16, 32"),
    ],
)
def test_a_mistake_is_one_sentence_and_exit_code_2(
    arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("notes.txt").write_text("no image")
    assert run(arguments) == 2
    said = capsys.readouterr().err
    assert sentence in said
    assert said.count("\n") == 1
    assert "Traceback" not in said


def test_a_used_port_of_the_gateway_is_named_before_anything_starts(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert run(["up", "--port", str(port), "--mllm-port", str(free_port())]) == 2
    assert f"Port {port} of 127.0.0.1 (setting port) is in use" in capsys.readouterr().err
    assert not (tmp_path / "judgefree-data" / "logs").exists()


@pytest.mark.parametrize("arguments", [["export", "--out", "pairs.parquet"], ["requeue"], ["submit", "one.png"]])
def test_what_is_away_is_said_in_one_sentence_with_exit_code_1(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    Path("one.png").write_bytes(picture())
    assert run(arguments) == 1
    assert capsys.readouterr().err.count("\n") == 1
    assert not Path("pairs.parquet").exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_disk_that_is_full_is_one_sentence() -> None:
    with Path("/dev/full").open("w") as full:
        said = subprocess.run([_INSTALLED, "version"], stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (said.returncode, said.stderr) == (
        2,
        "judgefree: The disk is full; make room and run the command again.\n",
    )


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("unshare") is None, reason="only root can mount a small disk")
@pytest.mark.parametrize("command", ["up", "demo"])
def test_nothing_is_started_on_a_disk_without_room(command: str, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    script = 'mount -t tmpfs -o size=8m tmpfs "$1" && JUDGEFREE_DATA_DIR="$1/data" exec "$2" "$3"'
    said = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script, "sh", str(disk), _INSTALLED, command],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert said.returncode == 2, said.stderr
    [line] = said.stderr.splitlines()
    assert re.fullmatch(rf"judgefree: The disk of the data folder {disk}/\S+ is full: \d MiB are free .*", line)
