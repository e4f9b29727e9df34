"""The commands that a newcomer gives, as processes: `judgefree up` on model folders of the user's own, and the demo."""

import json
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import psutil
import pyarrow.parquet as pq
import pytest

from tests.conftest import free_port
from tests.e2e.scenes import scene_pngs
from tests.processes import ROOT, Part, eventually, start_part

WEIGHTS = ROOT / "demo" / "weights"
SCENES = 8


@pytest.fixture
def command(tmp_path: Path) -> list[str]:
    """`up` on copies of the weights under names of their own, with an own data folder and own ports."""
    folders = {"--model": tmp_path / "my-policy", "--clip": tmp_path / "my-encoder"}
    for folder, weights in zip(folders.values(), ("mllm", "clip"), strict=True):
        shutil.copytree(WEIGHTS / weights, folder)
    flags = {flag: str(folder) for flag, folder in folders.items()} | {
        "--max-lora-rank": "16",
        "--data-dir": str(tmp_path / "data"),
        "--redis-url": f"redis://127.0.0.1:{free_port()}/0",
        **{flag: str(free_port()) for flag in ("--port", "--mllm-port", "--verifier-port")},
    }
    return ["up", *(word for flag in flags.items() for word in flag)]


@pytest.mark.timeout(600)  # it may have to start the run's own vLLM, too
def test_up_on_folders_makes_pairs_mends_itself_ends_without_a_trace_and_goes_on_with_a_vllm_elsewhere(
    command: list[str], mllm_url: str, tmp_path: Path
) -> None:
    scenes = scene_pngs(2, seed=21)
    with up(command, {}, tmp_path / "first.log") as (first, gateway):
        assert takes_adapters(f"http://127.0.0.1:{command[command.index('--mllm-port') + 1]}")
        sockets = sockets_of_vllm(first)
        verifier = child_of(first, "workers.clip")
        verifier.kill()
        made = post(gateway, scenes[0], wait_s=60)
        assert made["status"] == "done"
        assert "verifier was killed (SIGKILL); starting it again" in first.log.read_text()
        assert child_of(first, "workers.clip").pid != verifier.pid
        accepted = post(gateway, scenes[1])
        assert interrupt(first) == 0
        assert [one for one in sockets if one.exists() or one.parent.exists()] == []
    elsewhere = {"JUDGEFREE_MLLM_URL": mllm_url}
    with up([*command, "--model", "demo"], elsewhere, tmp_path / "second.log") as (second, gateway):
        found = httpx.get(f"{gateway}/v1/pairs/{made['id']}").json()
        assert found == made
        assert eventually(lambda: httpx.get(f"{gateway}/v1/pairs/{accepted['id']}").json()["status"] == "done", 60)
        assert interrupt(second) == 0
    assert "the data stays for the next `judgefree up`" in second.tail()


@pytest.mark.timeout(280)
def test_the_demo_ends_with_every_scene_scored_and_all_its_files(tmp_path: Path) -> None:
    out = tmp_path / "demo"
    ran = subprocess.run(
        [sys.executable, "-m", "judgefree", "demo", "--count", str(SCENES), "--out", str(out)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert ran.returncode == 0, ran.stderr
    assert f"{SCENES} pairs:" in ran.stdout
    for name in ("pairs.jsonl", "pairs.parquet", "contact-sheet.html"):
        assert str(out / name) in ran.stdout
    summary = json.loads((out / "summary.json").read_text())
    assert summary["pairs"] == summary["kept"] + summary["swapped"] + summary["discarded"] == SCENES
    assert len((out / "pairs.jsonl").read_text().splitlines()) == SCENES
    assert len(list((out / "scenes").glob("*.png"))) == SCENES
    assert pq.read_table(out / "pairs.parquet").num_rows == summary["kept"] + summary["swapped"]
    sheet = (out / "contact-sheet.html").read_text()
    assert sheet.count("data:image/png;base64") == SCENES
    assert not re.search(r"""(?:src|href)=["'](?!data:|#)""", sheet)
    assert not (out / "stack").exists()


@pytest.mark.timeout(280)
def test_the_demo_says_which_scene_did_not_come_out_scores_the_others_and_fails(tmp_path: Path) -> None:
    """A scene's file is spoilt while the stack starts."""
    out = tmp_path / "demo"
    command = [sys.executable, "-m", "judgefree", "demo", "--count", "3", "--out", str(out)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        assert eventually(lambda: (out / "stack" / "logs").exists(), 60)
        spoilt = sorted((out / "scenes").glob("*.png"))[1]
        spoilt.write_bytes(b"no image")
        said, errors = running.communicate(timeout=240)
    assert running.returncode == 1
    assert "2 pairs:" in said
    unwrapped = " ".join(errors.split())
    assert f"{spoilt}: " in unwrapped
    assert "image that can be read" in unwrapped
    assert json.loads((out / "summary.json").read_text())["pairs"] == 2
    assert (out / "stack" / "logs").exists(), "what is left says why"


@contextmanager
def up(command: list[str], settings: dict[str, str], log: Path) -> Iterator[tuple[Part, str]]:
    """A running `judgefree up` that is ready, and its gateway's URL; nothing of it is left afterwards."""
    gateway = f"http://127.0.0.1:{command[command.index('--port') + 1]}"
    part = start_part("judgefree", command, settings, f"{gateway}/readyz", log)
    try:
        part.wait_until_ready(200)
        assert eventually(lambda: "judgefree is ready at" in log.read_text(), 60)
        yield part, gateway
    finally:
        if part.process.poll() is None:
            part.end()


def takes_adapters(mllm_url: str) -> bool:
    """Whether a vLLM looks into the folder of an adapter that it is told of."""
    wanted = {"lora_name": "none", "lora_path": "/no/such/folder"}
    return "no/such/folder" in httpx.post(f"{mllm_url}/v1/load_lora_adapter", json=wanted, timeout=60).text


def interrupt(part: Part) -> int:
    """One Ctrl-C; returns the exit status once no process that the launcher had started is left."""
    started = psutil.Process(part.process.pid).children(recursive=True)
    assert len(started) >= 4
    part.process.send_signal(signal.SIGINT)
    status = part.process.wait(60)
    assert [process for process in started if is_alive(process)] == []
    return status


def is_alive(process: psutil.Process) -> bool:
    """Whether it still runs; a zombie does not: where nobody adopts the orphans it stays for ever."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def child_of(launcher: Part, module: str) -> psutil.Process:
    """The child of the launcher that runs `module`; waits for it where it is being started."""
    found: list[psutil.Process] = []

    def is_there() -> bool:
        for child in psutil.Process(launcher.process.pid).children():
            with suppress(psutil.NoSuchProcess):  # it may end while it is looked at
                found.extend([child] if child.cmdline()[-2:] == ["-m", module] else [])
        return bool(found)

    assert eventually(is_there, 30)
    return found[0]


def sockets_of_vllm(launcher: Part) -> list[Path]:
    """The Unix sockets that the launcher's vLLM and its engine have bound."""
    processes = psutil.Process(launcher.process.pid).children(recursive=True)
    of_vllm = [one for one in processes if "vllm" in " ".join(one.cmdline())]
    bound = {Path(one.laddr) for process in of_vllm for one in process.net_connections("unix") if one.laddr}
    found = sorted(path for path in bound if path.is_socket())
    assert found
    return found


def post(gateway: str, picture: bytes, wait_s: int = 0) -> dict[str, object]:
    headers = {"Prefer": f"wait={wait_s}"} if wait_s else {}
    answer = httpx.post(f"{gateway}/v1/pairs", files={"image": picture}, headers=headers, timeout=wait_s + 30)
    assert answer.is_success, answer.text
    [pair] = answer.json()["pairs"]
    said: dict[str, object] = pair
    return said
