"""What is measured: the backlog of the queue as it is, and each part's way of it in `/metrics`."""

import asyncio

import pytest
from prometheus_client import CollectorRegistry

from pairs.measures import ratio_bucket
from pairs.queue import Queue, Stage
from tests.clip.conftest import Verifying, World
from tests.examples import a_candidate, a_job
from tests.service.conftest import Served


@pytest.mark.parametrize(
    ("ratio", "bucket"),
    [
        (None, "none"), (-0.01, "<0"), (0.0, "0.0-0.1"), (0.1, "0.1-0.2"), (0.29999, "0.2-0.3"), (0.3, "0.3-0.4"),
        (0.7, "0.7-0.8"), (0.999, "0.9-1.0"), (1.0, "0.9-1.0"), (1.01, ">1"),
    ],
)  # fmt: skip
def test_a_ratio_falls_into_its_tenth(ratio: float | None, bucket: str) -> None:
    assert ratio_bucket(ratio) == bucket


async def test_the_lag_is_exact_when_entries_are_settled_out_of_order(queue: Queue) -> None:
    jobs = [a_job() for _ in range(5)]
    await queue.admit(jobs)
    first, second = await queue.take_jobs("pairer", 2, 0.1)
    await queue.forward(second, a_candidate(second.payload))
    seen = await queue.backlog()
    assert (seen.depth.jobs, seen.lag[Stage.JOBS]) == (4, 3)
    assert (seen.depth.candidates, seen.lag[Stage.CANDIDATES]) == (1, 1)
    await queue.fail(first, "it broke", may_retry=True)
    assert (await queue.backlog()).lag[Stage.JOBS] == 4


async def test_the_age_is_that_of_the_oldest_entry_and_none_without_one(queue: Queue) -> None:
    assert set((await queue.backlog()).oldest_s.values()) == {0.0}
    await queue.admit([a_job()])
    await asyncio.sleep(0.2)
    await queue.admit([a_job()])
    seen = await queue.backlog()
    assert 0.2 <= seen.oldest_s["jobs"] < 5
    assert seen.oldest_s["dead"] == 0
    assert seen.takes_writes
    assert seen.memory_bytes > 0
    assert seen.aof_bytes


async def test_the_gateway_tells_requests_by_route_and_how_the_queue_stands(served: Served) -> None:
    await served.gateway.queue.admit([a_job(), a_job()])
    await served.http.get(f"/v1/pairs/{a_job().id}")
    await served.http.get("/v1/pairs")
    told = (await served.http.get("/metrics")).text
    assert 'judgefree_http_requests_total{method="GET",route="/v1/pairs/{pair_id}",status="404"} 1.0' in told
    assert 'judgefree_http_request_seconds_count{method="GET",route="/v1/pairs"} 1.0' in told
    assert 'judgefree_queue_lag{stream="jobs"} 2.0' in told
    assert 'judgefree_queue_oldest_seconds{stream="dead"} 0.0' in told
    assert 'judgefree_store_operation_seconds_count{operation="read"} 1.0' in told
    assert 'judgefree_generation_failures_total{outcome="dead"} 0.0' in told
    assert "process_cpu_seconds_total" in told


async def test_a_path_that_is_not_there_makes_no_label_of_its_own(served: Served) -> None:
    for path in ("/nowhere", "/elsewhere", "/v1/nowhere"):
        assert (await served.http.get(path)).status_code == 404
    told = (await served.http.get("/metrics")).text
    assert 'judgefree_http_requests_total{method="GET",route="none",status="404"} 3.0' in told
    assert "nowhere" not in told


async def test_the_verifier_tells_decisions_by_method_and_ratio_and_the_way_s_times(
    world: World, verifying: Verifying
) -> None:
    async with verifying(world) as metrics:
        await world.enqueue_some(3)
        await world.settled()
    values = _values(metrics.registry)
    decided = {
        labels["decision"]: value
        for (name, labels), value in values
        if name == "judgefree_verifier_decisions_total" and (labels["method"], labels["ratio"]) == ("blend", "0.5-0.6")
    }
    assert sum(decided.values()) == 3
    for stage in ("verification_wait", "verification", "pair"):
        assert ((f"judgefree_{stage}_seconds_count", {}), 3.0) in values


async def test_there_is_no_gpu_in_the_metrics_where_there_is_none(world: World, verifying: Verifying) -> None:
    async with verifying(world) as metrics:
        assert not [name for (name, _), _ in _values(metrics.registry) if "gpu" in name]


def _values(registry: CollectorRegistry) -> list[tuple[tuple[str, dict[str, str]], float]]:
    return [((sample.name, sample.labels), sample.value) for family in registry.collect() for sample in family.samples]
