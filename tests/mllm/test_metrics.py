"""What lockstep counts, from the engine's process to a scrape of vLLM's `/metrics`."""

import asyncio
from dataclasses import dataclass, field

import pytest
from PIL.Image import Image
from prometheus_client import REGISTRY
from vllm.v1.engine import EngineCoreOutputs
from vllm.v1.metrics.stats import SchedulerStats
from vllm.v1.serial_utils import MsgpackDecoder, MsgpackEncoder

from tests.mllm.client import Client, xargs
from tests.mllm.engine import Engine, Size, as_member, engine_of
from workers.mllm.metrics import Tally, TwinMetrics, attach, detach

NAMES = {
    "judgefree_mllm_twins_in_flight": "gauge",
    "judgefree_mllm_held_steps_total": "counter",
    "judgefree_mllm_divergences_total": "counter",
    "judgefree_mllm_timeouts_total": "counter",
}


def test_the_counts_cross_the_process_boundary_and_leave_no_trace_in_vllms_own() -> None:
    tally = Tally(twins_in_flight=3, held_steps=5, divergences=0, timeouts=1)
    stats = SchedulerStats(num_running_reqs=2)
    before = dict(stats.num_kv_fetch_reqs_by_stage)
    attach(stats, tally)
    sent = MsgpackEncoder().encode(EngineCoreOutputs(scheduler_stats=stats))
    received = MsgpackDecoder(EngineCoreOutputs).decode(sent).scheduler_stats
    assert detach(received) == tally
    assert received.num_kv_fetch_reqs_by_stage == before
    assert received.num_running_reqs == 2
    assert detach(received) is None


@dataclass
class Heard(Engine):
    """An engine in front of which two API servers stand: vLLM gives a step's statistics to one of them."""

    servers: list[TwinMetrics] = field(default_factory=list)

    def _tell(self, outputs: dict[int, EngineCoreOutputs]) -> None:
        super()._tell(outputs)
        for stats in (output.scheduler_stats for output in outputs.values() if output.scheduler_stats):
            self.servers.reverse()
            self.servers[0].record(stats, None)


@pytest.mark.parametrize("count", [1, 2])
def test_what_is_counted_is_the_same_however_many_api_servers_hear_of_it(mllm_folder: str, count: int) -> None:
    scheduler = engine_of(mllm_folder, Size(step_tokens=16)).scheduler
    servers = [TwinMetrics(scheduler.vllm_config, [0]) for _ in range(count)]
    engine = Heard(scheduler, 1, Size().block_size, servers=servers)
    before = _held()
    for k in range(3):
        engine.add(f"g{k}", range(2, 50), 6, as_member(f"t{k}", "grounded"))
        engine.add(f"b{k}", range(2, 12), 6, as_member(f"t{k}", "blind"))
    while not engine.is_idle:
        engine.step()
    assert scheduler._held_steps > 2
    assert _held() - before == scheduler._held_steps


def _held() -> float:
    return REGISTRY.get_sample_value("judgefree_mllm_held_steps_total") or 0


async def test_lockstep_and_vllm_are_counted_side_by_side(mllm: Client, scenes: list[Image]) -> None:
    generated = mllm.server.metric("vllm:generation_tokens_total")
    held = mllm.server.metric("judgefree_mllm_held_steps_total")
    members = (("grounded", scenes[0]), ("blind", scenes[1]))  # with two images to encode a pair is held for a step
    asked = [mllm.ask(image, max_tokens=6, vllm_xargs=xargs("counted", role, 0.5)) for role, image in members]
    grounded, blind = await asyncio.gather(*asked)
    await mllm.settled()
    tokens = len(grounded.token_ids) + len(blind.token_ids)
    assert mllm.server.metric("vllm:generation_tokens_total") == generated + tokens
    assert mllm.server.metric("judgefree_mllm_held_steps_total") >= held + 2
    text = (await mllm.http.get("/metrics")).text
    for name, kind in NAMES.items():
        assert f"# TYPE {name} {kind}" in text
    assert "process_cpu_seconds_total" in text
