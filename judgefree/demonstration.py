"""The demo: rendered scenes through the whole stack over HTTP, and what came of them against the known truth."""

import asyncio
import json
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from judgefree.client import Client, Fields
from judgefree.contact_sheet import Entry, write_sheet
from judgefree.ledger import Ledger
from judgefree.mistakes import Mistake, PartFailed
from judgefree.rooms import program
from judgefree.submission import Outcome, Tally, submit_all
from pairs.model import Decision
from pairs.settings import Settings, load_settings

CONCURRENCY = 64
TIMEOUT_S = 120.0
ON_SHEET = 48

Follow = Callable[[Iterable[Outcome], int, Tally], Iterator[Outcome]]


@dataclass(frozen=True)
class Places:
    """Where a demo keeps its things, all under `root`."""

    root: Path

    @property
    def scenes(self) -> Path:
        return self.root / "scenes"

    @property
    def stack(self) -> Path:
        return self.root / "stack"

    @property
    def pairs(self) -> Path:
        return self.root / "pairs.jsonl"

    @property
    def journal(self) -> Path:
        return self.root / "pairs.jsonl.journal"

    @property
    def parquet(self) -> Path:
        return self.root / "pairs.parquet"

    @property
    def sheet(self) -> Path:
        return self.root / "contact-sheet.html"

    @property
    def summary(self) -> Path:
        return self.root / "summary.json"

    @property
    def marker(self) -> Path:
        """Says that the results here are a demo's."""
        return self.root / ".judgefree-demo"

    def clear(self) -> None:
        """Take away what an earlier demo left here, and nothing else.

        Raises Mistake where something has the name of a result and no demo has been here.
        """
        folders = (self.scenes, self.stack)
        files = (self.pairs, self.journal, self.parquet, self.sheet, self.summary)
        in_the_way = next((path for path in (*folders, *files) if path.exists()), None)
        if in_the_way is not None and not self.marker.exists():
            raise Mistake(f"{in_the_way} is there, and no demo has made it; move it or choose another --out.")
        self.marker.touch()
        for folder in folders:
            shutil.rmtree(folder, ignore_errors=True)
        for file in files:
            file.unlink(missing_ok=True)


@dataclass(frozen=True)
class Shown:
    """What a demo came to: how many scenes came out, the tally, and how long the pairs took, in seconds."""

    tally: Tally
    took_s: float

    @property
    def pairs_per_s(self) -> float:
        return self.tally.finished / self.took_s if self.took_s > 0 else 0.0


def demo_settings(places: Places) -> Settings:
    """Settings of a stack of its own: the embedded models, free ports, the defaults for all else.

    Whatever the person has set is for their own stack: the demo is the same everywhere.
    """
    redis, port, mllm, verifier = free_ports(4)
    defaults = {name: field.default for name, field in Settings.model_fields.items()}
    own = {
        "data_dir": places.stack,
        "redis_url": f"redis://127.0.0.1:{redis}/0",
        "port": port,
        "mllm_port": mllm,
        "mllm_url": f"http://127.0.0.1:{mllm}",
        "verifier_port": verifier,
    }
    unset = {name: None for name, default in defaults.items() if default is None}
    return load_settings(**(defaults | own)).model_copy(update=unset)


def free_ports(count: int) -> list[int]:
    """Ports of this machine that were free, all at once, a moment ago."""
    with ExitStack() as held:
        probes = [held.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]


def render(places: Places, count: int, seed: int, split: str) -> list[Path]:
    """Render the scenes; returns the image files, in order."""
    command = ["render", "--out", str(places.scenes), "--count", str(count), "--seed", str(seed), "--split", split]
    world_program(command)
    return sorted(places.scenes.glob("*.png"))


def score(places: Places) -> dict[str, Any]:
    """Score the finished pairs against the scenes' ground truth."""
    said: dict[str, Any] = json.loads(
        world_program(["score", "--scenes", str(places.scenes), "--pairs", str(places.pairs)])
    )
    return said


async def submit_scenes(client: Client, scenes: list[Path], places: Places, follow: Follow) -> Shown:
    """Submit as `judgefree submit` does, fetch the parquet file, write the contact sheet.

    Runs in a thread of its own, so that the stack is watched meanwhile; cancelled, it ends within moments.
    """
    try:
        return await asyncio.to_thread(_submit_scenes, client, scenes, places, follow)
    except asyncio.CancelledError:
        client.close()
        raise


def _submit_scenes(client: Client, scenes: list[Path], places: Places, follow: Follow) -> Shown:
    tally = Tally()
    began = time.monotonic()
    with Ledger(places.pairs, places.scenes) as ledger:
        outcomes = submit_all(client, scenes, Fields(), ledger, CONCURRENCY, TIMEOUT_S)
        finished = list(follow(outcomes, len(scenes), tally))
    took_s = time.monotonic() - began
    client.export(places.parquet)
    entries = [Entry(one.file.name, one.file.read_bytes(), one.pair) for one in finished if one.pair is not None]
    entries.sort(key=lambda entry: (entry.pair.decision is Decision.DISCARDED, entry.name))  # what teaches first
    write_sheet(places.sheet, entries, "judgefree demo", ON_SHEET)
    return Shown(tally, took_s)


def world_program(arguments: list[str]) -> str:
    """Run `python -m demo` and return what it prints; raises PartFailed with its last words."""
    run = subprocess.run(program("demo", *arguments), capture_output=True, text=True, check=False)
    if run.returncode != 0:
        words = run.stderr.strip().splitlines()
        raise PartFailed(f"`python -m demo {arguments[0]}` failed: {words[-1] if words else 'it said nothing'}")
    return run.stdout
