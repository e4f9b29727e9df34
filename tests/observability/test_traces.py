"""What a trace tells of a client's own trace, of errors and of shares; and that without a setting there is none."""

import subprocess
import sys
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from pairs.errors import SettingsError
from pairs.tracing import Tracing, accepted_parent, open_tracing
from tests.clip.conftest import Verifying, World, eventually
from tests.conftest import MakeSettings, free_port
from tests.e2e.scenes import scene_pngs
from tests.examples import a_candidate, a_job
from tests.observability.spans import Kept
from tests.processes import ROOT
from tests.service.conftest import Served, serving
from tests.service.little_vllm import LittleVllm
from workers.mllm.__main__ import launch_from
from workers.mllm.launch import arguments, environment

CLIENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
SAMPLED = 1
"""The flag of a traceparent whose trace is kept."""
WITHOUT_OPENTELEMETRY = """
import os, sys
sys.modules["opentelemetry"] = None
import service.__main__, workers.clip.__main__, workers.clip.process
from pairs.settings import load_settings
service.__main__.create_app(load_settings())
assert "pairs.tracing.otel" not in sys.modules
print("made")
os.environ["JUDGEFREE_TRACE_URL"] = "http://127.0.0.1:4318/v1/traces"
sys.argv = ["part"]
for part in ("service", "workers.clip"):
    print(part, sys.modules[f"{part}.__main__"].main())
"""
"""The gateway and the verifier in a process of their own: made without a URL, then told to trace."""


class Listening(LittleVllm):
    """Notes the traceparent of every question, and fails on each while it is broken."""

    def __init__(self) -> None:
        super().__init__("127.0.0.1", free_port())
        self.heard: set[str] = set()
        self.is_broken = False

    async def _complete(self, request: web.Request) -> web.Response:
        self.heard.add(request.headers["traceparent"])
        if self.is_broken:
            return web.json_response({"error": {"message": "broken"}}, status=500)
        return await super()._complete(request)


@pytest.fixture
async def vllm() -> AsyncIterator[Listening]:
    server = Listening()
    await server.start()
    yield server
    await server.fall()


async def post(served: Served, count: int = 1, headers: dict[str, str] | None = None) -> list[str]:
    """The ids of that many pairs, accepted."""
    files = [("image", ("scene.png", png)) for png in scene_pngs(count, seed=5)]
    answer = await served.http.post("/v1/pairs", files=files, headers=headers)
    assert answer.status_code == 202, answer.text
    return [pair["id"] for pair in answer.json()["pairs"]]


async def generated(served: Served, count: int) -> None:
    taken = 0
    while taken < count:
        taken += len(await served.gateway.queue.take_candidates("verifier", count, 1))


async def test_a_client_s_trace_goes_on_and_vllm_is_told_of_it(make_settings: MakeSettings, vllm: Listening) -> None:
    kept = Kept(share=0)  # a client that traces is followed, whatever the share of others
    async with serving(make_settings(mllm_url=vllm.url), kept.of("gateway")) as served:
        await post(served, 2, {"traceparent": CLIENT})
        await generated(served, 2)
    assert set(kept.traces()) == {0x0AF7651916CD43DD8448EB211C80319C}
    assert {span.parent.span_id for span in kept.named("admission") if span.parent} == {0xB7AD6B7169203331}
    asking = [span for span in kept.all() if span.name.startswith(("normal", "injected"))]
    assert len(asking) == 6
    assert vllm.heard == {f"00-{span.context.trace_id:032x}-{span.context.span_id:016x}-01" for span in asking}


async def test_without_a_share_no_pair_is_traced_and_vllm_is_told_so(
    make_settings: MakeSettings, vllm: Listening
) -> None:
    kept = Kept(share=0)
    async with serving(make_settings(mllm_url=vllm.url), kept.of("gateway")) as served:
        await post(served)
        await generated(served, 1)
    assert not kept.all()
    assert not [trace for trace in vllm.heard if int(trace[-2:], 16) & SAMPLED]


async def test_a_repeated_request_adds_nothing_to_the_trace(make_settings: MakeSettings, vllm: Listening) -> None:
    kept = Kept()
    async with serving(make_settings(mllm_url=vllm.url), kept.of("gateway")) as served:
        first, second = [await post(served, 1, {"idempotency-key": "k"}) for _ in range(2)]
    assert first == second
    [admission] = kept.named("admission")
    assert (admission.attributes or {})["judgefree.pair_id"] == first[0]


async def test_a_failed_generation_is_told_in_the_trace(make_settings: MakeSettings, vllm: Listening) -> None:
    kept, vllm.is_broken = Kept(), True
    async with serving(make_settings(mllm_url=vllm.url, max_attempts=2), kept.of("gateway")) as served:
        await post(served)
        await eventually(lambda: _is_dead(served))
    failed = kept.named("generation")
    assert len(failed) == 2, "each attempt has a span of its own"
    assert len(kept.traces()) == 1
    for span in failed:
        assert not span.status.is_ok
        assert [event.name for event in span.events] == ["exception"]
        assert "the model failed on the request" in (span.status.description or "")


async def test_a_failed_verification_is_told_in_the_trace(world: World, verifying: Verifying) -> None:
    kept, job = Kept(), a_job()
    await world.queue.admit([job], None, {job.id: CLIENT})
    [delivery] = await world.queue.take_jobs("pairer", 1, 1)
    await world.queue.forward(delivery, a_candidate(job))  # its image was never stored
    async with verifying(world, tracing=kept.of("verifier")):
        await world.settled()
    [span] = kept.named("verification")
    assert "missing from the image store" in (span.status.description or "")
    assert (span.attributes or {})["judgefree.outcome"] == "dead"


def test_vllm_traces_to_where_the_setting_says(make_settings: MakeSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    make_settings()
    plain = launch_from([])
    assert "--otlp-traces-endpoint" not in arguments(plain, is_cpu=True)
    monkeypatch.setenv("JUDGEFREE_TRACE_URL", "http://collector:4318/v1/traces")
    traced = launch_from([])
    given = arguments(traced, is_cpu=True)
    assert given[given.index("--otlp-traces-endpoint") + 1] == "http://collector:4318/v1/traces"
    told = environment(traced, is_cpu=True, inherited={}, cores=[0])
    assert told["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"] == "http/protobuf"


@pytest.mark.parametrize("given", [None, "", "00-short-01", "00-" + "0" * 32 + "-b7ad6b7169203331-01", CLIENT.upper()])
def test_what_is_no_traceparent_begins_no_trace(given: str | None) -> None:
    assert accepted_parent(given) is None


def test_without_a_url_nothing_is_traced(make_settings: MakeSettings) -> None:
    tracing = open_tracing(make_settings(), "gateway")
    assert type(tracing) is Tracing
    assert tracing.begin_trace("admission", CLIENT).child("within").trace is None


def test_traces_without_opentelemetry_are_a_wrong_setting(
    make_settings: MakeSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pairs.tracing.otel", None)
    with pytest.raises(SettingsError, match=r"opentelemetry is not installed.*judgefree\[tracing\]"):
        open_tracing(make_settings(trace_url="http://127.0.0.1:4318/v1/traces"), "gateway")


@pytest.fixture(scope="module")
def without_opentelemetry() -> "subprocess.CompletedProcess[str]":
    """What the parts say in a Python that lacks it."""
    return subprocess.run(
        [sys.executable, "-c", WITHOUT_OPENTELEMETRY],
        cwd=ROOT,
        env={"PATH": "", "HOME": "/tmp"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_without_a_url_the_parts_need_no_opentelemetry(
    without_opentelemetry: "subprocess.CompletedProcess[str]",
) -> None:
    assert without_opentelemetry.stdout.startswith("made\n"), without_opentelemetry.stderr


def test_a_part_that_cannot_trace_says_so_and_ends_with_2(
    without_opentelemetry: "subprocess.CompletedProcess[str]",
) -> None:
    said = without_opentelemetry.stderr
    assert without_opentelemetry.stdout.splitlines()[1:] == ["service 2", "workers.clip 2"], said
    assert said.count("opentelemetry is not installed here") == 2
    assert "Traceback" not in said


async def _is_dead(served: Served) -> bool:
    return (await served.gateway.queue.depth()).dead == 1
