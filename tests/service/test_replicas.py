"""A gateway in front of several replicas: each pair on one, all of them busy, none lost when one of them goes."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import pytest
import structlog

from pairs.adapters import Adapter, Adapters
from pairs.clock import now
from pairs.model import Candidate
from tests.conftest import MakeSettings
from tests.integration.test_pairer import candidates, submit
from tests.service.conftest import Served, serving
from tests.service.little_vllm import LittleVllm, little_vllms
from tests.service.pictures import picture

NAME = "replicas.test"
RATIO = 0.5


@dataclass
class Zone:
    """What the machine's resolver says of NAME: its addresses, the error that it answers with, or a fault of its."""

    addresses: list[str] = field(default_factory=list)
    error: int | None = None
    fault: Exception | None = None

    def resolve(self, ask: Callable[..., Any], host: str, *rest: Any, **named: Any) -> Any:
        if host != NAME:
            return ask(host, *rest, **named)
        if self.fault is not None:
            raise self.fault
        if self.error is not None:
            raise socket.gaierror(self.error, "of the test's own")
        return [one for address in self.addresses for one in ask(address, *rest, **named)]


@pytest.fixture
def zone(monkeypatch: pytest.MonkeyPatch) -> Zone:
    """A name server's answers for NAME, which this machine's resolver would otherwise not know."""
    zone, ask = Zone(), socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", lambda *rest, **named: zone.resolve(ask, *rest, **named))
    return zone


@pytest.fixture
async def three() -> AsyncIterator[list[LittleVllm]]:
    async with little_vllms(3) as servers:
        yield servers


def urls(servers: Iterable[LittleVllm]) -> str:
    return " ".join(server.url for server in servers)


def pictures(count: int) -> list[bytes]:
    return [picture(size=(16, 16 + index)) for index in range(count)]


async def until(holds: Callable[[], bool], timeout_s: float = 15) -> None:
    for _ in range(int(timeout_s / 0.02)):
        if holds():
            return
        await asyncio.sleep(0.02)
    pytest.fail(f"it does not hold after {timeout_s} s")


async def answered(served: Served, count: int, **fields: Any) -> list[Candidate]:
    """The candidates of so many accepted pairs: each exactly once, and no pair failed."""
    ids = [pair["id"] for pair in await submit(served, pictures(count), hallucination__ratio=RATIO, **fields)]
    return await all_of(served, ids)


async def all_of(served: Served, ids: list[str]) -> list[Candidate]:
    found = await candidates(served, len(ids))
    assert set(found) == set(ids)
    depth = await served.gateway.queue.depth()
    assert (depth.jobs, depth.dead) == (0, 0)
    return [delivery.payload for delivery in found.values()]


def failures(served: Served, outcome: str) -> float:
    registry = served.gateway.metrics.registry
    return registry.get_sample_value("judgefree_generation_failures_total", {"outcome": outcome}) or 0


async def test_all_are_used_and_every_pair_stays_on_one(make_settings: MakeSettings, three: list[LittleVllm]) -> None:
    async with serving(make_settings(mllm_url=urls(three))) as served:
        await answered(served, 60)
    twins = [server.twins() for server in three]
    assert [len(ids) for ids in twins] == [20, 20, 20]
    assert len(set.union(*twins)) == 60
    for server, ids in zip(three, twins, strict=True):
        assert len(server.asked) == 3 * len(ids)  # normal, grounded, blind


async def test_each_replica_gets_its_share_of_pairs_at_a_time_and_no_more(
    make_settings: MakeSettings, three: list[LittleVllm]
) -> None:
    for server in three:
        server.takes_s = 0.2
    async with serving(make_settings(mllm_url=urls(three), pairer_concurrency=4)) as served:
        await answered(served, 48)
    assert [server.most_at_once for server in three] == [12, 12, 12]


async def test_a_slow_replica_does_not_hold_the_others_up(make_settings: MakeSettings, three: list[LittleVllm]) -> None:
    three[0].takes_s = 1.5
    async with serving(make_settings(mllm_url=urls(three), pairer_concurrency=4)) as served:
        await answered(served, 60)
    assert len(three[0].twins()) <= 8
    assert all(len(server.twins()) >= 20 for server in three[1:])


async def test_pairs_of_a_replica_that_falls_go_to_the_others_and_none_counts_as_failed(
    make_settings: MakeSettings, three: list[LittleVllm]
) -> None:
    for server in three:
        server.takes_s = 0.3
    settings = make_settings(mllm_url=urls(three), max_attempts=1, pairer_concurrency=8)
    async with serving(settings) as served:
        ids = [pair["id"] for pair in await submit(served, pictures(60), hallucination__ratio=RATIO)]
        await until(lambda: three[0].at_once > 0)
        await three[0].fall()
        await all_of(served, ids)
        assert (await served.http.get("/readyz")).status_code == 200
        assert failures(served, "released") > 0
        assert failures(served, "retry") == failures(served, "dead") == 0
        asked = len(three[0].asked)
        await three[0].start()
        await until(lambda: len(served.gateway.watch.ready) == 3)
        await answered(served, 12)
    assert len(three[0].asked) > asked


async def test_a_replica_that_fails_at_once_does_not_draw_the_pairs_to_itself(make_settings: MakeSettings) -> None:
    async with little_vllms(2) as (broken, good):
        broken.is_broken, good.takes_s = True, 0.1
        settings = make_settings(mllm_url=urls([broken, good]), pairer_concurrency=4, max_attempts=3)
        async with serving(settings) as served:
            await answered(served, 60)
            assert failures(served, "dead") == 0
            assert len(broken.twins()) <= 4 + 3  # those that came before the first failure, then one after each rest
            assert served.gateway.watch.states() == {"ready": 1, "failing": 1}
            broken.is_broken = False
            broken.asked.clear()
            for _ in range(3):
                await answered(served, 60)
            assert len(broken.twins()) > 50
            assert served.gateway.watch.states() == {"ready": 2}


@pytest.mark.parametrize("lost", [1, 2])
async def test_an_image_that_vllm_has_lost_is_sent_again_and_costs_no_attempt(
    make_settings: MakeSettings, three: list[LittleVllm], lost: int
) -> None:
    """Of the two requests with the image one, or both, fail."""
    three[0].lost_images = lost
    async with serving(make_settings(mllm_url=three[0].url, max_attempts=1)) as served:
        await answered(served, 1)
        assert served.gateway.watch.states() == {"ready": 1}
    assert three[0].lost_images == 0


async def test_pairs_that_wait_get_a_replica_as_soon_as_its_rest_is_over(make_settings: MakeSettings) -> None:
    async with little_vllms(2) as (slow, failing):
        slow.takes_s, failing.is_broken = 6.0, True
        async with serving(make_settings(mllm_url=urls([slow, failing]), pairer_concurrency=1)) as served:
            ids = [pair["id"] for pair in await submit(served, pictures(4), hallucination__ratio=RATIO)]
            await until(lambda: served.gateway.watch.states()["failing"] == 1)
            failing.is_broken = False
            failing.asked.clear()
            await until(lambda: len(failing.twins()) == 3, timeout_s=4)
            await all_of(served, ids)


async def test_where_every_replica_fails_pairs_go_on_as_soon_as_one_does_not(make_settings: MakeSettings) -> None:
    async with little_vllms(2) as servers:
        for server in servers:
            server.is_broken = True
        settings = make_settings(mllm_url=urls(servers), pairer_concurrency=4, max_attempts=1000)
        async with serving(settings) as served:
            ids = [pair["id"] for pair in await submit(served, pictures(20), hallucination__ratio=RATIO)]
            await until(lambda: served.gateway.watch.states() == {"failing": 2})
            await until(lambda: failures(served, "retry") > 20)
            servers[0].is_broken = False
            await all_of(served, ids)


async def test_a_request_is_admitted_while_one_replica_is_there(
    make_settings: MakeSettings, three: list[LittleVllm]
) -> None:
    async with serving(make_settings(mllm_url=urls(three))) as served:
        for server in three[:2]:
            await server.fall()
        await answered(served, 1)  # the gateway has not noticed yet, and asks for its size at one after the other
        await three[2].fall()
        await until(lambda: not served.gateway.watch.is_there)
        answer = await served.http.post("/v1/pairs", files={"image": pictures(1)[0]})
        assert answer.status_code == 503


async def test_a_replica_of_another_model_is_said_once_and_not_used(
    make_settings: MakeSettings, three: list[LittleVllm]
) -> None:
    three[0].model = "another"
    with structlog.testing.capture_logs() as log:
        async with serving(make_settings(mllm_url=urls(three))) as served:
            await asyncio.sleep(2.5)  # a few probes of each
            assert served.gateway.watch.served().name == "tiny"
            await answered(served, 12)
    assert three[0].asked == []
    [said] = [event for event in log if event["log_level"] == "error"]
    assert (said["serves"], said["used"]) == ("another", "tiny")
    assert three[0].url in said["replica"]


async def test_the_replicas_in_each_state_are_told(make_settings: MakeSettings, three: list[LittleVllm]) -> None:
    three[2].model = "another"
    async with serving(make_settings(mllm_url=urls(three))) as served:
        await until(lambda: len(served.gateway.watch.ready) == 2)
        told = (await served.http.get("/metrics")).text
        assert 'judgefree_mllm_replicas{state="ready"} 2.0' in told
        assert 'judgefree_mllm_replicas{state="other_model"} 1.0' in told
        assert 'judgefree_mllm_replicas{state="away"} 0.0' in told
        await three[0].fall()
        await until(lambda: len(served.gateway.watch.ready) == 1)
        told = (await served.http.get("/metrics")).text
        assert 'judgefree_mllm_replicas{state="ready"} 1.0' in told
        assert 'judgefree_mllm_replicas{state="away"} 1.0' in told


async def test_a_replica_is_watched_on_after_an_answer_that_nobody_foresaw(
    make_settings: MakeSettings, three: list[LittleVllm]
) -> None:
    async with serving(make_settings(mllm_url=three[0].url)) as served:
        with structlog.testing.capture_logs() as log:
            three[0].strange = "[" * 100_000  # the parser's own stack gives out
            await until(lambda: any(event.get("work") == "Replica" for event in log))
        three[0].strange, three[0].max_model_len = None, 2048
        await until(lambda: served.gateway.watch.served().max_model_len == 2048)


async def test_names_are_looked_up_on_after_an_error_that_nobody_foresaw(
    make_settings: MakeSettings, zone: Zone, three: list[LittleVllm]
) -> None:
    zone.addresses = [three[0].address]
    async with serving(make_settings(mllm_url=_base(three))) as served:
        with structlog.testing.capture_logs() as log:
            zone.fault = RuntimeError("can't start new thread")
            await until(lambda: any(event.get("work") == "ModelWatch" for event in log))
        zone.fault, zone.addresses = None, [server.address for server in three]
        await until(lambda: len(served.gateway.watch.ready) == 3)


async def test_an_adapter_is_loaded_at_each_replica_and_again_at_one_that_was_started_anew(
    make_settings: MakeSettings, three: list[LittleVllm]
) -> None:
    async with serving(make_settings(mllm_url=urls(three))) as served:
        registry = await Adapters.open(served.settings.store_url)
        await registry.register(
            Adapter(name="mine", model="tiny", path="/mine", snapshot_sha256="0" * 64, created_at=now())
        )
        await registry.close()
        await answered(served, 12, adapter="mine")
        assert [server.adapters for server in three] == [{"mine": "/mine"}] * 3
        three[1].adapters.clear()
        found = await answered(served, 12, adapter="mine")
        assert three[1].adapters == {"mine": "/mine"}
        assert {candidate.policy.adapter for candidate in found} == {"mine"}


async def test_an_adapter_that_is_gone_is_not_held_against_the_replicas(
    make_settings: MakeSettings, three: list[LittleVllm]
) -> None:
    """One that vLLM was started with, and that is not registered: until the next probe the gateway asks for it."""
    for server in three:
        server.adapters["by-hand"], server.takes_s = "/by-hand", 0.3
    settings = make_settings(mllm_url=urls(three), adapter="by-hand", pairer_concurrency=1, max_attempts=1)
    async with serving(settings) as served:
        await submit(served, pictures(9), hallucination__ratio=RATIO)
        for server in three:
            server.adapters.clear()
        await until(lambda: failures(served, "dead") > 0)
        assert "failing" not in served.gateway.watch.states()


async def test_a_name_stands_for_the_addresses_that_it_has_at_the_time(
    make_settings: MakeSettings, zone: Zone, three: list[LittleVllm]
) -> None:
    zone.addresses = [three[0].address]
    async with serving(make_settings(mllm_url=f"http://{NAME}:{three[0].port}")) as served:
        await answered(served, 6)
        zone.addresses = [server.address for server in three]
        await until(lambda: len(served.gateway.watch.ready) == 3)
        await answered(served, 12)
        assert all(server.twins() for server in three)


async def test_a_replica_that_left_the_name_finishes_its_pairs_and_gets_no_more(
    make_settings: MakeSettings, zone: Zone, three: list[LittleVllm]
) -> None:
    zone.addresses = [server.address for server in three]
    three[0].takes_s = 6.0
    settings = make_settings(mllm_url=f"http://{NAME}:{three[0].port}", max_attempts=1, max_releases=1)
    async with serving(settings) as served:
        ids = [pair["id"] for pair in await submit(served, pictures(9), hallucination__ratio=RATIO)]
        await until(lambda: three[0].at_once == 9)
        zone.addresses = [server.address for server in three[1:]]
        await until(lambda: len(served.gateway.watch.ready) == 2)
        ids += [pair["id"] for pair in await submit(served, pictures(12), hallucination__ratio=RATIO)]
        await all_of(served, ids)
        assert failures(served, "released") == 0
        assert len(three[0].asked) == 9
        zone.addresses = [three[0].address]
        await until(lambda: [one.name for one in served.gateway.watch.ready] == [f"{_base(three)} at 127.0.0.10"])


async def test_while_no_name_server_answers_the_replicas_are_where_they_were(
    make_settings: MakeSettings, zone: Zone, three: list[LittleVllm]
) -> None:
    zone.addresses = [server.address for server in three]
    with structlog.testing.capture_logs() as log:
        async with serving(make_settings(mllm_url=_base(three))) as served:
            zone.error = socket.EAI_AGAIN
            await asyncio.sleep(7)  # two look-ups
            await answered(served, 6)
            assert len(served.gateway.watch.ready) == 3
            zone.error = socket.EAI_NONAME
            await until(lambda: not served.gateway.watch.is_there)
            zone.error = None
            await until(lambda: len(served.gateway.watch.ready) == 3)
            await answered(served, 6)
    warnings = [event["event"] for event in log if event["log_level"] == "warning" and event.get("url") == _base(three)]
    assert warnings == ["a replica's name cannot be looked up", "a replica's name has no address"]


def _base(servers: list[LittleVllm]) -> str:
    return f"http://{NAME}:{servers[0].port}"


async def test_of_pairs_that_wait_for_a_turn_none_is_forgotten_when_their_request_is_given_up(
    make_settings: MakeSettings, three: list[LittleVllm]
) -> None:
    for server in three:
        server.takes_s = 0.5
    settings = make_settings(mllm_url=urls(three), pairer_concurrency=1)
    async with serving(settings) as served:
        ids = [pair["id"] for pair in await submit(served, pictures(20), hallucination__ratio=RATIO)]
        await asyncio.sleep(0.7)
    async with serving(settings) as served:
        await all_of(served, ids)
