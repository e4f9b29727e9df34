"""What the gateway tells: pairs in every state, pages, images, counts, readiness, the page, and who may ask."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta, timezone
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest
from sqlalchemy.ext.asyncio import create_async_engine

from pairs.errors import StoreUnavailable
from pairs.model import Decision, Pair, Status
from pairs.store import Store
from service.admission import Admission
from service.app import create_app
from service.metrics import Tally
from service.reading import accepted_pairs
from tests.conftest import MakeSettings, free_port
from tests.examples import a_candidate, a_job, a_pair
from tests.integration.wire import wired
from tests.service.conftest import Served, serving
from tests.service.pictures import picture
from tests.service.test_bad_input import assert_problem


async def _told(served: Served, pair_id: str) -> Pair:
    answer = await served.http.get(f"/v1/pairs/{pair_id}")
    assert answer.status_code == 200, answer.text
    return Pair.model_validate(answer.json())


async def test_a_pair_in_every_state(served: Served) -> None:
    queue, job = served.gateway.queue, a_job()
    await queue.admit([job])
    assert (await _told(served, job.id)).status is Status.QUEUED
    [delivery] = await queue.take_jobs("another", 1, 0.1)
    assert (await _told(served, job.id)).status is Status.GENERATING
    await queue.forward(delivery, a_candidate(job))
    assert (await _told(served, job.id)).status is Status.VERIFYING
    assert_problem(await served.http.put(f"/v1/pairs/{job.id}/review", json={"verdict": "keep"}), 409, "not-reviewable")
    [candidate] = await queue.take_candidates("verifier", 1, 0.1)
    done = a_pair(id=job.id)
    await served.gateway.store.insert([done])
    assert await _told(served, job.id) == done
    await queue.finish([candidate])
    assert await _told(served, job.id) == done


async def test_a_pair_is_waited_for_until_it_is_settled_or_the_wait_is_over(served: Served) -> None:
    queue, job = served.gateway.queue, a_job()
    await queue.admit([job])
    [delivery] = await queue.take_jobs("another", 1, 0.1)
    early = await served.http.get(f"/v1/pairs/{job.id}", headers={"Prefer": "wait=1"})
    assert (early.json()["status"], early.headers["Preference-Applied"]) == (Status.GENERATING, "wait=1")
    waiting = asyncio.create_task(served.http.get(f"/v1/pairs/{job.id}", headers={"Prefer": "wait=50"}))
    await asyncio.sleep(0.1)
    await queue.fail(delivery, "it is late", may_retry=False)
    assert (await asyncio.wait_for(waiting, 20)).json()["status"] == Status.FAILED


async def test_a_failed_pair_says_why_here_and_in_the_stats(served: Served) -> None:
    queue, job = served.gateway.queue, a_job()
    await queue.admit([job])
    [delivery] = await queue.take_jobs("another", 1, 0.1)
    await queue.fail(delivery, "the twins came back unequal", may_retry=False)
    told = await _told(served, job.id)
    assert (told.status, told.reason) == (Status.FAILED, "the twins came back unequal")
    stats = (await served.http.get("/v1/stats")).json()
    assert stats["queue"]["dead"] == 1
    assert stats["dead_letters"] == [
        {"id": job.id, "stage": "jobs", "reason": "the twins came back unequal", "attempts": 1}
    ]


async def test_pages_go_through_all_pairs_once_newest_first(served: Served) -> None:
    made = [a_pair() for _ in range(7)]
    await served.gateway.store.insert(made)
    seen: list[str] = []
    cursor = ""
    while True:
        page = (await served.http.get(f"/v1/pairs?limit=3{cursor}")).json()
        seen += [pair["id"] for pair in page["pairs"]]
        if page["next"] is None:
            break
        cursor = f"&cursor={page['next']}"
    assert seen == [pair.id for pair in reversed(made)]


async def test_filters_of_the_list(served: Served) -> None:
    made = [a_pair(decision) for decision in Decision]
    await served.gateway.store.insert(made)
    for query, expected in {
        "decision=swapped": [made[1]],
        "min_margin=0.3": made[::-1],
        "min_margin=0.5": [],
        "policy=tiny": made[::-1],
        "policy=tiny@other": [],
        f"since={quote(made[1].created_at.isoformat())}": [made[2], made[1]],
        f"since={quote(made[1].created_at.astimezone(timezone(timedelta(hours=9))).isoformat())}": [made[2], made[1]],
    }.items():
        found = (await served.http.get(f"/v1/pairs?{query}")).json()["pairs"]
        assert [pair["id"] for pair in found] == [pair.id for pair in expected], query


async def test_an_image_is_told_once_and_never_again(served: Served) -> None:
    content = picture()
    sha256 = await served.gateway.blobs.put(content)
    pair = a_pair()
    await served.gateway.store.insert(
        [pair.model_copy(update={"image": pair.image.model_copy(update={"sha256": sha256})})]
    )
    answer = await served.http.get(f"/v1/pairs/{pair.id}/image")
    assert (answer.content, answer.headers["content-type"]) == (content, "image/png")
    assert "immutable" in answer.headers["cache-control"]
    again = await served.http.get(f"/v1/pairs/{pair.id}/image", headers={"If-None-Match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


async def test_stats_and_metrics_count_what_there_is(served: Served) -> None:
    await served.gateway.store.insert([a_pair(), a_pair(Decision.SWAPPED)])
    await served.gateway.queue.admit([a_job()])
    stats = (await served.http.get("/v1/stats")).json()
    assert stats["decisions"] == {"kept": 1, "swapped": 1, "discarded": 0}
    assert (stats["finished"], stats["queue"]["jobs"], stats["model"]["is_there"]) == (2, 1, False)
    assert stats["verifier"] == {"model": "demo", "scorer": "sentence", "margin_threshold": 0.03}
    metrics = (await served.http.get("/metrics")).text
    assert 'judgefree_pairs{decision="kept"} 1.0' in metrics
    assert 'judgefree_queue_depth{stream="jobs"} 1.0' in metrics
    assert 'judgefree_http_requests_total{method="GET",route="/v1/stats",status="200"} 1.0' in metrics
    assert 'judgefree_part_up{part="model"} 0.0' in metrics


@pytest.fixture
async def away_store(tmp_path: Path) -> AsyncIterator[Store]:
    """A store whose disk went away."""
    store = Store(create_async_engine(f"sqlite+aiosqlite:///{tmp_path}/gone/pairs.db"))
    yield store
    await store.close()


async def test_what_was_accepted_is_told_while_the_store_is_away(served: Served, away_store: Store) -> None:
    gateway, job = replace(served.gateway, store=away_store), a_job()
    await gateway.queue.admit([job])
    queued = [Pair.of_job(job, Status.QUEUED)]
    assert await accepted_pairs(gateway, Admission([job.id], queued), 1) == queued
    with pytest.raises(StoreUnavailable):  # a repeated request may be repeated once more
        await accepted_pairs(gateway, Admission([job.id], []), 0)


async def test_metrics_are_served_while_the_store_is_away(served: Served, away_store: Store) -> None:
    gateway = served.gateway
    await gateway.store.insert([a_pair()])
    await served.http.get("/metrics")
    depth, decisions = await Tally(gateway.queue, away_store).look_at_each()
    gateway.metrics.show(depth, decisions, 0, model_up=True, replicas=gateway.watch.states())
    told = gateway.metrics.text().decode()
    assert 'judgefree_part_up{part="store"} 0.0' in told
    assert 'judgefree_part_up{part="queue"} 1.0' in told
    assert 'judgefree_pairs{decision="kept"} 1.0' in told


async def test_alive_but_not_ready_without_the_model(served: Served) -> None:
    assert (await served.http.get("/healthz")).status_code == 200
    answer = await served.http.get("/readyz")
    assert (answer.status_code, answer.json()) == (503, {"status": "away", "away": ["model"]})


async def test_a_full_queue_answers_429_before_it_reads_the_request(make_settings: MakeSettings) -> None:
    async with serving(make_settings(max_in_flight=1, mllm_url=f"http://127.0.0.1:{free_port()}")) as served:
        await served.gateway.queue.admit([a_job()])
        await served.gateway.tally.look()  # as it does every other second
        answer = await served.http.post("/v1/pairs", files={"image": picture()})
        assert_problem(answer, 429, "queue-full")
        assert int(answer.headers["retry-after"]) > 0


@pytest.mark.parametrize("path", ["/v1/stats", "/v1/pairs", "/v1/export", "/metrics", "/v1/pairs/x/image"])
async def test_with_keys_configured_a_known_one_is_needed(make_settings: MakeSettings, path: str) -> None:
    settings = make_settings(api_keys=("first", "sécond"), mllm_url=f"http://127.0.0.1:{free_port()}")
    async with serving(settings) as served:
        answer = await served.http.get(path)
        assert_problem(answer, 401, "unauthenticated")
        assert answer.headers["www-authenticate"].startswith("Bearer")
        for headers in ({"Authorization": "Bearer wrong"}, {"X-API-Key": "wrong"}):
            assert_problem(await served.http.get(path, headers=headers), 403, "forbidden")
        for headers in ({"Authorization": "Bearer first"}, {"X-API-Key": "first"}):
            assert (await served.http.get(path, headers=headers)).status_code in (200, 404)
        for public in ("/healthz", "/readyz", "/", "/docs", "/openapi.json"):
            assert (await served.http.get(public)).status_code in (200, 503)


async def test_the_page_is_one_file_that_asks_only_this_gateway(served: Served) -> None:
    answer = await served.http.get("/")
    assert answer.headers["content-type"].startswith("text/html")
    for part in ("/v1/stats", "/v1/pairs?limit=", "Dead letters", "prefers-color-scheme: dark", "sessionStorage"):
        assert part in answer.text
    assert "://" not in answer.text


async def test_openapi_tells_fields_and_problems(served: Served) -> None:
    document = (await served.http.get("/openapi.json")).json()
    post = document["paths"]["/v1/pairs"]["post"]
    assert {"200", "202", "400", "409", "413", "415", "422", "429", "503"} <= set(post["responses"])
    form = post["requestBody"]["content"]["multipart/form-data"]["schema"]["properties"]
    assert {"image", "prompt", "hallucination.method", "hallucination.ratio", "max_tokens", "seed"} <= set(form)
    assert "ratio_mean" in json.dumps(post["requestBody"]["content"]["application/json"])
    for reference in re.findall(r'"\$ref": "#/([^"]+)"', json.dumps(document)):
        found = document
        for part in reference.split("/"):
            found = found[part]


async def test_while_redis_is_away_the_gateway_says_so_and_comes_back(
    make_settings: MakeSettings, valkey_url: str
) -> None:
    away = f"http://127.0.0.1:{free_port()}"
    async with (
        wired(valkey_url) as wire,
        serving(make_settings(mllm_url=away, redis_url=wire.url.replace("http", "redis"))) as served,
    ):
        await wire.cut()
        answer = await served.http.get("/v1/stats")
        assert_problem(answer, 503, "queue-unavailable")
        assert "queue" in (await served.http.get("/readyz")).json()["away"]
        await wire.mend()
        answer = await _until_ok(served.http, "/v1/stats")
        assert answer.status_code == 200


async def _until_ok(http: httpx.AsyncClient, path: str) -> httpx.Response:
    for _ in range(50):
        answer = await http.get(path)
        if answer.is_success:
            break
        await asyncio.sleep(0.1)
    return answer


async def test_an_unexpected_error_tells_nothing_of_the_inside(make_settings: MakeSettings) -> None:
    app = create_app(make_settings(mllm_url=f"http://127.0.0.1:{free_port()}"))

    @app.get("/breaks")
    async def breaks() -> None:
        raise RuntimeError("/secret/path at 10.0.0.1")

    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://gateway") as http,
    ):
        assert_problem(await http.get("/breaks"), 500, "internal")


async def test_a_store_that_is_away_is_a_problem_too(served: Served) -> None:
    path = served.settings.data_dir / "pairs.db"
    await served.gateway.store.close()
    for part in path.parent.glob("pairs.db*"):
        part.unlink()
    path.mkdir()
    assert_problem(await served.http.get("/v1/pairs"), 503, "store-unavailable")
    assert "store" in (await served.http.get("/readyz")).json()["away"]
