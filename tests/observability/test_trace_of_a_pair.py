"""One trace a pair, through the real gateway, Valkey, vLLM, verifier and store."""

from itertools import pairwise

from opentelemetry.sdk.trace import ReadableSpan

from tests.clip.conftest import Verifying, World, a_world, eventually
from tests.conftest import MakeSettings
from tests.e2e.scenes import scene_pngs
from tests.observability.spans import Kept, tree
from tests.service.conftest import serving

WAY = {
    "admission": {
        "wait for generation": {},
        "generation": {"normal": {}, "injected grounded": {}, "injected blind": {}},
        "wait for verification": {},
        "verification": {"batch": {}, "encode": {}, "decide": {}},
        "store insert": {},
    }
}
STAGES = list(WAY["admission"])


async def test_a_pair_is_one_trace_from_its_admission_into_the_store(
    make_settings: MakeSettings, mllm_url: str, verifying: Verifying
) -> None:
    settings, kept = make_settings(mllm_url=mllm_url, max_tokens=24), Kept()
    async with serving(settings, kept.of("gateway")) as served, a_world(settings) as world:
        files = [("image", ("scene.png", png)) for png in scene_pngs(2, seed=3)]
        answer = await served.http.post("/v1/pairs", files=files, data={"hallucination.ratio": "0.5"})
        assert answer.status_code == 202
        async with verifying(world, tracing=kept.of("verifier")):
            await eventually(lambda: _has_stored(world, 2))
        stored = await world.stored()
    traces = list(kept.traces().values())
    assert len(traces) == 2
    for spans in traces:
        assert tree(spans) == WAY
        _assert_stages_follow_each_other(spans)
    decided = {span.attributes["judgefree.pair_id"]: span for span in kept.named("verification") if span.attributes}
    assert set(decided) == {pair.id for pair in stored} == {pair["id"] for pair in answer.json()["pairs"]}
    for pair in stored:
        about = decided[pair.id].attributes or {}
        assert (about["judgefree.method"], about["judgefree.ratio"]) == ("blend", 0.5)
        assert about["judgefree.decision"] == pair.decision
        assert decided[pair.id].resource.attributes["service.name"] == "judgefree-verifier"


def _assert_stages_follow_each_other(spans: list[ReadableSpan]) -> None:
    stages = [span for span in spans if span.name in STAGES]
    assert [span.name for span in stages] == STAGES
    for before, after in pairwise(stages):
        assert (before.start_time or 0) <= (after.start_time or 0)
        assert (before.end_time or 0) >= (before.start_time or 0)


async def _has_stored(world: World, count: int) -> bool:
    return len(await world.stored()) == count and (await world.queue.depth()).candidates == 0
