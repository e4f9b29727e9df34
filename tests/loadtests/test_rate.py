"""The load generator itself, against a port at which nothing answers: when its images set out is all that counts."""

import json
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from tests.conftest import free_port
from tests.processes import ROOT

PROFILES = """
[both]
load = "open"
arrivals = "even"
shape = { kind = "burst", base = 0.7, peak = 150, every_s = 3, lasting_s = 2, bursts = 1 }
journey = { give_up_s = 0.1 }
"""
HEAD = """
from loadtests.running import Cluster, conduct  # first: locust makes all that follows cooperative
import json, sys
from pathlib import Path
from loadtests.profiles import read_profile

host, file, port, workers = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
cluster = Cluster("127.0.0.1", port, workers, 60) if workers else None
run = conduct(host, read_profile("both", file), None, cluster, lambda *_: None)
print(json.dumps([one["at"] for one in run.ledger.arrivals]))
"""


@pytest.mark.parametrize("workers", [0, 2])
def test_a_slow_rate_and_a_fast_one_are_what_was_asked_from_their_first_image_on(tmp_path: Path, workers: int) -> None:
    (tmp_path / "profiles.toml").write_text(PROFILES)
    port = str(free_port())
    worker = [sys.executable, "-m", "loadtests", "--worker", "--master-port", port]
    helping = [subprocess.Popen(worker, cwd=ROOT) for _ in range(workers)]
    words = [f"http://127.0.0.1:{free_port()}", str(tmp_path / "profiles.toml"), port, str(workers)]
    command = [sys.executable, "-c", HEAD, *words]
    head = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=90, check=False)
    assert [one.wait(30) for one in helping] == [0] * workers
    assert head.returncode == 0, head.stderr
    found: list[float] = json.loads(head.stdout)
    gaps = [after - before for before, after in pairwise(found)]
    fast, slow = [gap for gap in gaps if gap < 0.1], [gap for gap in gaps if gap >= 0.1]
    assert fast[1:-1] == pytest.approx([1 / 150] * len(fast[1:-1]), abs=1e-4), "but for the gaps in which it changes"
    assert len(fast) / 150 == pytest.approx(2, abs=1)
    before_and_after = slow[:2] + slow[-1:]
    assert before_and_after == pytest.approx([1 / 0.7] * 3, abs=1e-4)
