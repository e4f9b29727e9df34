"""The system from its real parts, vLLM included: drained and started anew, and lost and restored from a backup."""

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import httpx
import pytest
from redis import Redis

from tests.e2e.scenes import scene_pngs
from tests.e2e.stack import Stack, running_stack
from tests.operations.conftest import Deploy, Deployment
from tests.operations.page import typed

PAIRS = 40
GRACE_S = 20
"""More than the 15 s after which docs/operations.md has a part killed that was told to end."""

pytestmark = pytest.mark.timeout(200)


@pytest.fixture
def deployment(deploy: Deploy) -> Deployment:
    return deploy(lease_s=2.0)


@pytest.fixture
def stack(deployment: Deployment, mllm_url: str, tmp_path: Path) -> Iterator[Stack]:
    with _started(deployment, mllm_url, tmp_path / "first") as running:
        yield running


def test_it_is_drained_started_anew_lost_and_restored_amid_its_work(
    deployment: Deployment, stack: Stack, mllm_url: str, tmp_path: Path
) -> None:
    accepted = _post(stack, seed=23)
    _wait_for_done(stack, 5)
    _drain(stack, deployment)
    stack.restart_verifier()
    stack.restart_gateway()
    stack.gateway.wait_until_ready()
    _all_are_there_once(stack, accepted)

    stack.verifier.kill()  # so that something is unfinished however long the backup takes
    accepted += _post(stack, seed=24)
    typed("Back up", deployment.environment | {"BACKUP": str(tmp_path / "backup")})
    stack.gateway.kill()
    deployment.lose_everything()
    typed("Restore on one machine", {"BACKUP": str(tmp_path / "backup"), "DATA": str(deployment.settings.data_dir)})
    deployment.start_valkey()
    with _started(deployment, mllm_url, tmp_path / "second") as restored:
        _all_are_there_once(restored, accepted)


def _drain(stack: Stack, deployment: Deployment) -> None:
    for part in (stack.gateway, stack.verifier):
        assert part.end(GRACE_S) == 0, part.tail()
    assert _taken(deployment) == 0, "a part has ended with work in hand"


@contextmanager
def _started(deployment: Deployment, mllm_url: str, folder: Path) -> Iterator[Stack]:
    settings = deployment.settings
    own = {"data_dir": settings.data_dir, "namespace": settings.namespace, "lease_s": settings.lease_s}
    with running_stack(folder, settings.redis_url, mllm_url, **own) as running:
        yield running


def _post(stack: Stack, seed: int) -> list[str]:
    files = [("image", scene) for scene in scene_pngs(PAIRS, seed)]
    with stack.client() as client:
        answer = client.post("/v1/pairs", files=files, data={"seed": "5"})
    assert answer.status_code == 202, answer.text
    return [pair["id"] for pair in answer.json()["pairs"]]


def _all_are_there_once(stack: Stack, accepted: list[str]) -> None:
    _wait_for_done(stack, len(accepted), timeout_s=90)
    listed = _listed(stack)
    assert sorted(pair["id"] for pair in listed) == sorted(accepted)
    with stack.client() as client:
        queue = client.get("/v1/stats").json()["queue"]
        images = [client.get(f"/v1/pairs/{pair['id']}/image").status_code for pair in listed]
    assert (queue["jobs"], queue["candidates"], queue["dead"]) == (0, 0, 0)
    assert set(images) == {httpx.codes.OK}


def _listed(stack: Stack) -> list[dict[str, str]]:
    with stack.client() as client:
        found: list[dict[str, str]] = client.get("/v1/pairs", params={"limit": 200}).json()["pairs"]
    return found


def _wait_for_done(stack: Stack, count: int, timeout_s: float = 60) -> None:
    deadline = time.monotonic() + timeout_s
    while len(_listed(stack)) < count:
        assert time.monotonic() < deadline, f"{len(_listed(stack))} of {count} pairs after {timeout_s} s"
        time.sleep(0.05)


def _taken(deployment: Deployment) -> int:
    """How many entries of both streams are in some consumer's hands."""
    prefix = f"{{{deployment.settings.namespace}}}"
    with closing(Redis.from_url(deployment.settings.redis_url)) as redis:
        found = [redis.xpending(f"{prefix}:{stream}", "workers") for stream in ("jobs", "candidates")]
    return sum(int(one["pending"]) for one in found)
