"""The load generator itself, against a port at which nothing answers: when images are due and sent is what counts."""

import json
import subprocess
import sys
from collections import Counter
from itertools import pairwise
from pathlib import Path
from statistics import median

import pytest

from tests.conftest import free_port
from tests.processes import ROOT

BASE, PEAK = 0.7, 150
APART_S = 0.1
"""Less is a gap of the peak's, more is one of the base's."""
PROFILES = f"""
[both]
load = "open"
arrivals = "even"
shape = {{ kind = "burst", base = {BASE}, peak = {PEAK}, every_s = 3, lasting_s = 2, bursts = 1 }}
journey = {{ give_up_s = 0.1 }}
"""
HEAD = """
from loadtests.running import Cluster, conduct  # first: locust makes all that follows cooperative
import json, sys
from pathlib import Path
from loadtests.profiles import read_profile

host, file, port, workers = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
cluster = Cluster("127.0.0.1", port, workers, 60) if workers else None
run = conduct(host, read_profile("both", file), None, cluster, lambda *_: None)
print(json.dumps([[one["at"], one["at"] + one["late_s"]] for one in run.ledger.arrivals]))
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
    found: list[tuple[float, float]] = json.loads(head.stdout)
    assert_planned([due for due, _ in found])
    assert_sent(found)


def assert_planned(due: list[float]) -> None:
    gaps = [after - before for before, after in pairwise(due)]
    fast, slow = [gap for gap in gaps if gap < APART_S], [gap for gap in gaps if gap >= APART_S]
    assert fast[1:-1] == pytest.approx([1 / PEAK] * len(fast[1:-1]), abs=1e-4), "but for the gaps in which it changes"
    assert len(fast) / PEAK == pytest.approx(2, abs=1)
    before_and_after = slow[:2] + slow[-1:]
    assert before_and_after == pytest.approx([1 / BASE] * 3, abs=1e-4)


def assert_sent(found: list[tuple[float, float]]) -> None:
    """At the rate that was asked for, second by second, and no later than a machine may be that has much else to do."""
    begin = found[0][0]
    due_in, sent_in = (Counter(int(one[which] - begin) for one in found) for which in (0, 1))
    for second in due_in | sent_in:
        assert sent_in[second] == pytest.approx(due_in[second], abs=PEAK / 2), f"in second {second}"
    late_s = [(sent - due, due_next - due < APART_S) for (due, sent), (due_next, _) in pairwise(found)]
    for of_pace in ([late for late, is_fast in late_s if is_fast], [late for late, is_fast in late_s if not is_fast]):
        assert median(of_pace) < 0.25, of_pace
        assert sorted(of_pace)[int(0.95 * len(of_pace))] < 1, of_pace
