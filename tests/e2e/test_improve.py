"""`judgefree improve` on real parts, killed twice: it goes on to its end, and nothing is there twice."""

import asyncio
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import psutil
import pytest

from pairs.adapters import Adapters
from pairs.runs import ImprovementRun, Phase, Runs, RunStatus
from tests.conftest import free_port
from tests.e2e.scenes import scene_pngs
from tests.processes import ROOT, Part, start_part

ROUNDS, IMAGES = 2, 24
ASKED = f"--rounds {ROUNDS} --count {IMAGES} --promote-on demo:in_distribution:12:30000 --least-decided 0.01".split()
TRAINING = ["--steps", "4", "--least", "1", "--batch-size", "4", "--save-every", "2", "--log-every", "1"]


@pytest.fixture
def settings(lora_url: str, tmp_path: Path) -> dict[str, str]:
    """The environment of every process of the test: a folder and ports of its own, and a vLLM that keeps nothing."""
    return own_settings(lora_url, tmp_path)


def own_settings(mllm_url: str, folder: Path) -> dict[str, str]:
    own = {f"JUDGEFREE_{name}": str(free_port()) for name in ("PORT", "VERIFIER_PORT")}
    own |= {"JUDGEFREE_REDIS_URL": f"redis://127.0.0.1:{free_port()}/0", "JUDGEFREE_MLLM_URL": mllm_url}
    return own | {"JUDGEFREE_DATA_DIR": str(folder / "data")}


@pytest.mark.timeout(400)  # it may have to start the run's own vLLM, too
def test_a_vllm_that_takes_no_adapters_is_refused_in_one_sentence_before_anything_is_made(
    mllm_url: str, tmp_path: Path
) -> None:
    with improving(own_settings(mllm_url, tmp_path), tmp_path, "--name", "refused", *ASKED) as refused:
        assert refused.process.wait(120) == 2, refused.tail()
    assert refused.log.read_text() == (
        f"judgefree: The vLLM that runs at {mllm_url} takes no adapters: end `judgefree up`, or start it with "
        "`--max-lora-rank 16`.\n"
    )
    assert not (tmp_path / "data").exists()


def test_who_breaks_a_run_off_is_told_how_it_goes_on(tmp_path: Path) -> None:
    settings = own_settings("", tmp_path) | {"JUDGEFREE_MLLM_PORT": str(free_port())}
    del settings["JUDGEFREE_MLLM_URL"]
    with improving(settings, tmp_path, "--name", "broken", *ASKED) as run:
        until(lambda: "goes on if it is broken off" in run.log.read_text(), run, 60)
        run.process.send_signal(signal.SIGINT)
        assert run.process.wait(60) == 130, run.tail()
    last = run.log.read_text().splitlines()[-1]
    assert last == "Run broken was broken off; `judgefree improve --resume --name broken` goes on with it."


@pytest.mark.timeout(900)
def test_a_run_killed_while_making_pairs_and_while_training_goes_on_and_does_nothing_twice(
    settings: dict[str, str], tmp_path: Path
) -> None:
    data = tmp_path / "data"
    with improving(settings, tmp_path, "--name", "crash", *ASKED, "--", *TRAINING) as first:
        until_lines(data / "improve" / "crash" / "round-1" / "pairs.jsonl", 3, first)
        kill_all(first)
    with up(settings, tmp_path) as gateway:
        with improving(settings, tmp_path, "--resume") as second:
            until_lines(data / "adapters" / ".unfinished" / "crash-1" / "metrics.jsonl", 1, second)
            kill_all(second)
        with improving(settings, tmp_path, "--resume", "--name", "crash") as third:
            assert third.process.wait(600) == 0, third.tail()
        run, adapters = asyncio.run(known(f"sqlite+aiosqlite:///{data}/pairs.db"))
        assert (run.status, [one.phase for one in run.rounds]) == (RunStatus.DONE, [Phase.DONE] * ROUNDS)
        assert adapters == [one.adapter for one in run.rounds] == ["crash-1", "crash-2"]
        assert_every_image_has_one_pair_a_round(data)
        assert "Improvement run crash" in (data / "improve" / "crash" / "report.html").read_text()
        assert "Run crash has ended already" in judgefree(settings, "improve", "--resume")
        assert "demo is served with crash-1" in judgefree(settings, "rollback", "crash-1")
        until_promoted(gateway, "crash-1")
        assert served_adapter(gateway) == "crash-1"
        assert "before, it was crash-1" in judgefree(settings, "rollback")


@contextmanager
def improving(settings: dict[str, str], folder: Path, *flags: str) -> Iterator[Part]:
    """A running `judgefree improve`; nothing of it is left afterwards."""
    part = start_part("judgefree", ["improve", *flags], settings, "", folder / "improve.log")
    try:
        yield part
    finally:
        if part.process.poll() is None:
            kill_all(part)


@contextmanager
def up(settings: dict[str, str], folder: Path) -> Iterator[str]:
    """A running `judgefree up`, and its gateway's URL."""
    gateway = f"http://127.0.0.1:{settings['JUDGEFREE_PORT']}"
    part = start_part("judgefree", ["up"], settings, f"{gateway}/readyz", folder / "up.log")
    try:
        part.wait_until_ready(300)
        yield gateway
    finally:
        if part.process.poll() is None:
            part.end(60)


def kill_all(part: Part) -> None:
    """kill -9 to a launcher and to everything that it started, as a crash of the machine would."""
    started = psutil.Process(part.process.pid).children(recursive=True)
    part.kill()
    for process in started:
        with suppress(psutil.NoSuchProcess):  # its parent's death may have ended it
            process.kill()
    psutil.wait_procs(started, timeout=30)


def until_lines(file: Path, count: int, part: Part, timeout_s: float = 600) -> None:
    """Wait until a file that the part writes has so many lines."""
    until(lambda: file.exists() and file.read_bytes().count(b"\n") >= count, part, timeout_s)


def until(holds: Callable[[], bool], part: Part, timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    while not holds():
        assert part.process.poll() is None, part.tail()
        assert time.monotonic() < deadline, part.tail()
        time.sleep(0.02)


async def known(store_url: str) -> tuple[ImprovementRun, list[str]]:
    """The run, and the names of the registered adapters."""
    runs, registry = await Runs.open(store_url), await Adapters.open(store_url)
    try:
        run = await runs.get("crash")
        assert run is not None
        return run, [adapter.name for adapter in await registry.all()]
    finally:
        await runs.close()
        await registry.close()


def assert_every_image_has_one_pair_a_round(data: Path) -> None:
    """And one more for each ratio that the round tried beforehand; the store has those and no others."""
    told: list[str] = []
    for number in range(1, ROUNDS + 1):
        folder = data / "improve" / "crash" / f"round-{number}"
        for ledger in (folder / "pairs.jsonl", *folder.glob("probe-*.jsonl")):
            pairs = [json.loads(line) for line in ledger.read_text().splitlines()]
            assert len(pairs) == len({pair["file"] for pair in pairs}) == IMAGES
            told += [pair["id"] for pair in pairs]
    with sqlite3.connect(data / "pairs.db") as store:
        stored = [pair_id for (pair_id,) in store.execute("SELECT id FROM pairs")]
    assert sorted(stored) == sorted(told)
    assert len(set(told)) == len(told) >= 2 * ROUNDS * IMAGES


def judgefree(settings: dict[str, str], *words: str) -> str:
    """What a command says, on both of its streams."""
    command = [sys.executable, "-m", "judgefree", *words]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("JUDGEFREE_")}
    done = subprocess.run(command, cwd=ROOT, env=clean | settings, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def until_promoted(gateway: str, adapter: str) -> None:
    """Wait until the gateway knows of a promotion: it looks once a second."""
    deadline = time.monotonic() + 30
    while httpx.get(f"{gateway}/v1/stats", timeout=30).json()["model"]["policy"]["adapter"] != adapter:
        assert time.monotonic() < deadline
        time.sleep(0.1)


def served_adapter(gateway: str) -> str | None:
    """The adapter of a pair for which none was asked."""
    [picture] = scene_pngs(1, seed=31)
    answer = httpx.post(
        f"{gateway}/v1/pairs", files={"image": picture}, headers={"Prefer": "wait=120"}, timeout=150
    ).json()
    adapter: str | None = answer["pairs"][0]["policy"]["adapter"]
    return adapter
