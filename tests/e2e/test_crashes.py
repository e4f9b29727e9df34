"""kill -9 in mid-flow: each accepted pair is found afterwards, exactly once."""

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.e2e.scenes import scene_pngs
from tests.e2e.stack import Stack, running_stack

PAIRS = 200


@pytest.mark.timeout(280)
def test_every_accepted_pair_is_found_once_after_kills_of_the_verifier_and_the_gateway(
    valkey_url: str, mllm_url: str, tmp_path: Path
) -> None:
    with running_stack(tmp_path, valkey_url, mllm_url, lease_s=3) as stack:
        pictures = iter(scene_pngs(PAIRS, seed=11))
        accepted = _post(stack, [next(pictures) for _ in range(PAIRS // 2)])
        _wait_for_done(stack, 10)
        stack.verifier.kill()
        accepted += _post(stack, [next(pictures) for _ in range(PAIRS // 4)])
        stack.gateway.kill()  # pairs are in generation, candidates wait for the verifier
        stack.restart_gateway()
        stack.gateway.wait_until_ready()
        accepted += _post(stack, [next(pictures) for _ in range(PAIRS // 4)])
        stack.restart_verifier()
        _wait_for_done(stack, len(accepted), timeout_s=200)

        assert len(set(accepted)) == PAIRS
        listed = _list_all(stack)
        assert sorted(pair["id"] for pair in listed) == sorted(accepted)
        assert {pair["status"] for pair in listed} == {"done"}
        with stack.client() as client:
            queue = client.get("/v1/stats").json()["queue"]
        assert (queue["jobs"], queue["candidates"], queue["dead"]) == (0, 0, 0)


def _post(stack: Stack, pictures: list[bytes]) -> list[str]:
    with stack.client() as client, ThreadPoolExecutor(8) as pool:

        def post(picture: bytes) -> str:
            response = client.post("/v1/pairs", files={"image": picture}, data={"seed": "5"})
            assert response.status_code == 202, response.text
            found: str = response.json()["pairs"][0]["id"]
            return found

        return list(pool.map(post, pictures))


def _list_all(stack: Stack) -> list[dict[str, str]]:
    found: list[dict[str, str]] = []
    cursor: str | None = None
    with stack.client() as client:
        while True:
            page = client.get("/v1/pairs", params={"limit": 100} | ({"cursor": cursor} if cursor else {})).json()
            found += page["pairs"]
            cursor = page["next"]
            if cursor is None:
                return found


def _wait_for_done(stack: Stack, count: int, timeout_s: float = 60) -> None:
    deadline = time.monotonic() + timeout_s
    while len(_list_all(stack)) < count:
        assert time.monotonic() < deadline, f"{len(_list_all(stack))} of {count} pairs after {timeout_s} s"
        time.sleep(0.2)
