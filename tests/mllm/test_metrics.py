"""What lockstep counts, from the engine's process to a scrape of vLLM's `/metrics`."""

from PIL.Image import Image
from vllm.v1.engine import EngineCoreOutputs
from vllm.v1.metrics.stats import SchedulerStats
from vllm.v1.serial_utils import MsgpackDecoder, MsgpackEncoder

from tests.mllm.client import Client
from workers.mllm.metrics import Tally, attach, detach

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


async def test_lockstep_and_vllm_are_counted_side_by_side(mllm: Client, scenes: list[Image]) -> None:
    generated = mllm.server.metric("vllm:generation_tokens_total")
    held = mllm.server.metric("judgefree_mllm_held_steps_total")
    grounded, blind = await mllm.ask_pair(scenes[0], 0.5, max_tokens=6)
    await mllm.settled()
    tokens = len(grounded.token_ids) + len(blind.token_ids)
    assert mllm.server.metric("vllm:generation_tokens_total") == generated + tokens
    assert mllm.server.metric("judgefree_mllm_held_steps_total") >= held + 2
    text = (await mllm.http.get("/metrics")).text
    for name, kind in NAMES.items():
        assert f"# TYPE {name} {kind}" in text
    assert "process_cpu_seconds_total" in text
