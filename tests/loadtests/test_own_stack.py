"""`judgefree loadtest` where no gateway is ready: on a stack of its own, which ends with it and leaves others alone."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from judgefree.cli import run
from judgefree.launcher.preflight import hold_folder
from tests.conftest import free_port
from tests.processes import ROOT, eventually

PROFILES = """
[met]
load = "closed"
shape = { kind = "steady", level = 2, duration_s = 4 }
journey = { fields = { max_tokens = "16" } }
[met.thresholds]
max_failed_pairs = 0

[missed]
load = "closed"
shape = { kind = "steady", level = 2, duration_s = 4 }
journey = { fields = { max_tokens = "16" } }
[missed.thresholds]
min_pairs_per_s = 100000
"""


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The data folder of a person who has settings of their own, which are for their own stack."""
    folder = tmp_path / "data"
    folder.mkdir()
    for name, value in {"DATA_DIR": str(folder), "PORT": str(free_port()), "MODEL": "nowhere/at-all"}.items():
        monkeypatch.setenv(f"JUDGEFREE_{name}", value)
    return folder


def start(*words: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "judgefree", "loadtest", *words]
    return subprocess.Popen(command, cwd=ROOT, env=dict(os.environ), text=True, stderr=subprocess.PIPE)


@pytest.mark.timeout(280)
def test_profiles_in_turn_lose_nothing_and_the_worst_exit_code_counts(data: Path, tmp_path: Path) -> None:
    left = data / "loadtest" / "stack" / "pairs.db"
    left.parent.mkdir(parents=True)
    for file in (left, data / "pairs.db", tmp_path / "profiles.toml"):
        file.write_text(PROFILES)
    with start("--profile", "met", "--profile", "missed", "--profiles", str(tmp_path / "profiles.toml")) as running:
        _, said = running.communicate(timeout=240)
    assert running.returncode == 1, said
    summaries = [json.loads((data / "loadtest" / name / "summary.json").read_text()) for name in ("met", "missed")]
    assert [one["passed"] for one in summaries] == [True, False]
    assert all(one["integrity"]["is_whole"] and one["integrity"]["accepted"] > 0 for one in summaries)
    assert (data / "pairs.db").read_text() == PROFILES, "the person's own"
    assert not left.parent.exists()
    assert {path.name for path in data.iterdir()} == {"pairs.db", "loadtest"}


def test_one_that_is_broken_off_ends_its_parts_and_keeps_what_is_asked_for(data: Path) -> None:
    logs = data / "loadtest" / "stack" / "logs"
    with start("--keep") as running:
        assert eventually(lambda: (logs / "valkey.log").exists() and (logs / "mllm.log").exists(), 60)
        parts = psutil.Process(running.pid).children(recursive=True)
        running.send_signal(signal.SIGINT)
        _, said = running.communicate(timeout=60)
    assert running.returncode == 130, said
    assert len(parts) >= 2
    assert not [part for part in parts if part.is_running() and part.status() != psutil.STATUS_ZOMBIE]
    assert logs.is_dir()


def test_a_second_one_on_the_same_folder_is_refused(data: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (data / "loadtest").mkdir()
    with hold_folder(data / "loadtest"):
        assert run(["loadtest"]) == 2
    assert str(data / "loadtest") in capfd.readouterr().err
