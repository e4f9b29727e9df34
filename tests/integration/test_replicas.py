"""Two real vLLMs behind one gateway: both make pairs, and one that is killed in the middle costs none of them."""

import asyncio
import re
import time
from collections.abc import Iterator

import httpx
import pytest

from tests.conftest import MakeSettings, free_port
from tests.e2e.scenes import scene_pngs
from tests.integration.test_pairer import candidates, submit
from tests.processes import Part, running_part
from tests.service.conftest import Served, serving

SCENES = scene_pngs(64, seed=23)


@pytest.fixture
def second(mllm_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Part]:
    """Another vLLM like the run's own, which the test may kill; it starts once that one is there."""
    port, folder = free_port(), tmp_path_factory.mktemp("second")
    environment = {"JUDGEFREE_MLLM_PORT": str(port), "JUDGEFREE_DATA_DIR": str(folder)}
    ready_url = f"http://127.0.0.1:{port}/health"
    with running_part("workers.mllm", [], environment, ready_url, folder / "mllm.log", timeout_s=240) as part:
        yield part


async def figure(url: str, name: str) -> float:
    """The sum of a metric that vLLM shows."""
    async with httpx.AsyncClient(base_url=url, timeout=30) as http:
        text = (await http.get("/metrics")).text
    return sum(float(value) for value in re.findall(rf"^{name}(?:{{.*}})? (\S+)$", text, re.MULTILINE))


async def answers(url: str) -> float:
    return await figure(url, "vllm:request_success_total")


async def until_in_mid_flow(url: str, timeout_s: float = 60) -> None:
    """Wait until this vLLM has answered something and works on more."""
    before, deadline = await answers(url), time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if await answers(url) > before and await figure(url, "vllm:num_requests_running") > 0:
            return
        await asyncio.sleep(0.05)
    pytest.fail(f"{url} answers nothing in {timeout_s} s")


def attempts(served: Served, outcome: str) -> float:
    registry = served.gateway.metrics.registry
    return registry.get_sample_value("judgefree_generation_failures_total", {"outcome": outcome}) or 0


@pytest.mark.timeout(600)  # it may have to start both
async def test_no_pair_is_lost_or_doubled_when_one_of_two_vllms_is_killed_in_mid_flow(
    make_settings: MakeSettings, mllm_url: str, second: Part
) -> None:
    second_url = second.ready_url.removesuffix("/health")
    settings = make_settings(mllm_url=f"{mllm_url} {second_url}", max_attempts=1, max_tokens=96, pairer_concurrency=12)
    before = await answers(mllm_url)
    async with serving(settings) as served:
        assert len(served.gateway.watch.ready) == 2
        flow = asyncio.create_task(until_in_mid_flow(second_url))
        accepted = await submit(served, SCENES, hallucination__ratio=0.5)
        await flow
        second.kill()
        found = await candidates(served, len(accepted))
        assert set(found) == {pair["id"] for pair in accepted}
        depth = await served.gateway.queue.depth()
        assert (depth.jobs, depth.dead) == (0, 0)
        assert attempts(served, "released") > 0
        assert attempts(served, "retry") == attempts(served, "dead") == 0
        assert served.gateway.metrics.registry.get_sample_value("judgefree_unequal_twins_total") == 0
        assert (await served.http.get("/readyz")).status_code == 200
    assert await answers(mllm_url) > before
