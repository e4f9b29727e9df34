"""Short loads on the real system: what is in order passes, and one pair that is lost fails the run."""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import httpx

from tests.conftest import free_port
from tests.loadtests.program import Loadtest

PROFILES = """
[everybody]
load = "closed"
shape = { kind = "steady", level = 6, duration_s = 11, warm_up_s = 2 }
journey = { repeat_share = 0.2, fields = { max_tokens = "48" } }
[everybody.users]
bulk = { count = 1, pause_s = 2, images = 4 }
browser = { count = 1, pause_s = 0.5 }
exporter = { count = 1, pause_s = 2 }
reviewer = { count = 1, pause_s = 0.5 }
bad = { count = 3, pause_s = 0.2 }
[everybody.thresholds]
max_error_share = 0
max_failed_pairs = 0

[arrivals]
load = "open"
shape = { kind = "steady", level = 3, duration_s = 9 }
journey = { wait = "post", fields = { max_tokens = "48" } }
[arrivals.thresholds]
max_error_share = 0

[swapped]
load = "closed"
shape = { kind = "steady", level = 1, duration_s = 3 }
journey = { fields = { max_tokens = "16" } }
[swapped.users]
bulk = { count = 1, pause_s = 0.5, images = 2 }
"""
USERS_DO = {
    "POST /v1/pairs POST",
    "POST /v1/pairs POST many",
    "POST /v1/pairs repeated",
    "POST bad: an image of too many pixels",
    "POST bad: broken JSON",
    "GET /v1/pairs list",
    "GET /v1/export parquet",
    "PUT /v1/pairs/{id}/review",
    "PAIR image to finished pair",
}


def test_users_of_every_kind_lose_nothing_and_the_report_has_their_figures(loadtest: Loadtest) -> None:
    with loadtest.stack.client() as client:
        before = client.get("/v1/stats").json()["finished"]
        process = loadtest.load("everybody")
        _, said = process.communicate(timeout=120)
        finished = client.get("/v1/stats").json()["finished"] - before
    assert process.returncode == 0, said
    found = loadtest.summary("everybody")
    accepted = (loadtest.folder / "everybody" / "accepted.txt").read_text().split()
    assert found["passed"]
    assert found["integrity"]["accepted"] == len(set(accepted)) == finished > 10
    assert found["integrity"]["is_whole"]
    assert found["integrity"]["compared"] == len(accepted)
    assert found["figures"]["error_share"] == 0
    assert 0 < found["figures"]["latency_s"]["p50"] <= found["figures"]["latency_s"]["p99"] < 60
    assert len(found["queue"]) > 5
    assert max(sample["jobs"] + sample["candidates"] for sample in found["queue"]) > 0
    html = (loadtest.folder / "everybody" / "report.html").read_text()
    assert {one for one in USERS_DO if f'"name": "{one.partition(" ")[2]}"' not in html} == set()
    assert f"{len(accepted)} pairs accepted, all fetched again: 0 lost" in said


def test_a_pair_that_is_lost_fails_a_distributed_run_and_is_named(loadtest: Loadtest) -> None:
    port = str(free_port())
    workers = [loadtest.start("--worker", "--master-port", port) for _ in range(2)]
    master = loadtest.load("arrivals", "--master", "--master-port", port, "--expect-workers", "2")
    lost = lose_a_finished_pair(loadtest.stack.folder / "data" / "pairs.db")
    _, said = master.communicate(timeout=120)
    assert [worker.communicate(timeout=30) and worker.returncode for worker in workers] == [0, 0]
    assert master.returncode == 1, said
    integrity = loadtest.summary("arrivals")["integrity"]
    assert integrity["lost"] == {"count": 1, "ids": [lost]}
    assert integrity["untold"] == integrity["doubled"]["count"] == 0
    assert 10 < integrity["accepted"] < 60
    assert "1 accepted pairs are lost." in said


def test_uploads_that_are_swapped_at_admission_fail_the_run_though_every_hash_is_right(loadtest: Loadtest) -> None:
    with loadtest.stack.client() as client, a_gateway_that_swaps_two_images(client) as host:
        process = loadtest.load("swapped", "--host", host)
        _, said = process.communicate(timeout=120)
    assert process.returncode == 1, said
    integrity = loadtest.summary("swapped")["integrity"]
    bulk = integrity["mixed_up"]["count"]
    assert bulk >= 2
    assert bulk % 2 == 0
    assert integrity["compared"] == integrity["accepted"] > bulk
    assert integrity["lost"]["count"] == integrity["doubled"]["count"] == 0
    assert f"{bulk} pairs have another image than the one they were accepted for." in said


@contextmanager
def a_gateway_that_swaps_two_images(client: httpx.Client) -> Iterator[str]:
    """The real one, behind a door that takes the two images of a request for each other; yields its URL."""

    class Door(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def pass_on(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            kept = [name for name in ("Content-Type", "Idempotency-Key", "Prefer") if name in self.headers]
            headers = {name: self.headers[name] for name in kept}
            content = swapped(body, headers.get("Content-Type", ""))
            answer = client.request(self.command, self.path, headers=headers, content=content)
            self.send_response(answer.status_code)
            self.send_header("Content-Length", str(len(answer.content)))
            self.end_headers()
            self.wfile.write(answer.content)

        do_GET = do_POST = pass_on  # noqa: N815 - http.server's names

        def log_message(self, *_: object) -> None:
            """Nothing: the terminal is pytest's."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Door) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def swapped(body: bytes, content_type: str) -> bytes:
    """The form with its two images in each other's place; any other body as it is."""
    _, _, boundary = content_type.partition("boundary=")
    parts = body.split(f"--{boundary}".encode()) if boundary else []
    images = [place for place, part in enumerate(parts) if b'name="image"' in part]
    if len(images) != 2:
        return body
    first, second = images
    parts[first], parts[second] = parts[second], parts[first]
    return f"--{boundary}".encode().join(parts)


def lose_a_finished_pair(database: Path, timeout_s: float = 60) -> str:
    """Take a pair out of the store behind the system's back, as soon as there is one of the run; returns its id."""
    deadline = time.monotonic() + timeout_s
    with sqlite3.connect(database, timeout=10) as store:
        newest = "SELECT id FROM pairs ORDER BY id DESC LIMIT 1"
        before = store.execute(newest).fetchone()
        while (now := store.execute(newest).fetchone()) == before:
            assert time.monotonic() < deadline, "no pair of the run was finished"
            time.sleep(0.1)
        time.sleep(2)  # its POST waits for it, and has to be answered first: what nobody was told of cannot be missed
        store.execute("DELETE FROM pairs WHERE id = ?", now)
    pair_id: str = now[0]
    return pair_id
