"""What the gateway refuses: a problem of a stable type each, that names what was wrong and nothing internal."""

import asyncio
import base64
import re
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import httpx
import pytest
from PIL import Image

from pairs.settings import load_settings
from service.problems import TYPE_PREFIX
from tests.conftest import MakeSettings, free_port
from tests.service.conftest import Served, serving
from tests.service.pictures import animation, picture, png_that_claims

_INTERNAL = re.compile(
    r"(?:/[\w.-]+){3,}|\d+\.\d+\.\d+\.\d+|Traceback|line \d+|0x[0-9a-f]{6,}|\.py\b|redis|sqlite", re.I
)

GOOD = picture()
BAD_IMAGES: dict[str, tuple[bytes, int, str]] = {
    "text": (b"this is no image at all", 415, "not-an-image"),
    "0 bytes": (b"", 415, "not-an-image"),
    "truncated PNG": (picture(size=(400, 300))[:-200], 415, "not-an-image"),
    "truncated JPEG": (picture("JPEG", (400, 300))[:1200], 415, "not-an-image"),
    "truncated WebP": (picture("WEBP", (400, 300))[:120], 415, "not-an-image"),
    "truncated GIF": (picture("GIF", (400, 300))[:900], 415, "not-an-image"),
    "TIFF": (picture("TIFF"), 415, "not-an-image"),
    "BMP": (picture("BMP"), 415, "not-an-image"),
    "SVG": (b'<svg xmlns="http://www.w3.org/2000/svg"/>', 415, "not-an-image"),
    "20,000 x 20,000 PNG": (png_that_claims(20_000, 20_000), 413, "too-large"),
    "9,000 x 9,000 PNG": (png_that_claims(9_000, 9_000), 413, "too-large"),
    "a thread of an image": (picture(size=(2, 900)), 422, "invalid-field"),
}
BAD_FIELDS: dict[str, tuple[dict[str, str], str]] = {
    "ratio above 2": ({"hallucination.ratio": "2.1"}, "hallucination.ratio"),
    "ratio below -2": ({"hallucination.ratio": "-2.1"}, "hallucination.ratio"),
    "ratio no number": ({"hallucination.ratio": "much"}, "hallucination.ratio"),
    "ratio NaN": ({"hallucination.ratio": "nan"}, "hallucination.ratio"),
    "ratio with mean": ({"hallucination.ratio": "1", "hallucination.ratio_mean": "1"}, "hallucination"),
    "ratio for drop": ({"hallucination.method": "drop", "hallucination.ratio": "1"}, "hallucination"),
    "ratio for prompt": ({"hallucination.method": "prompt", "hallucination.ratio_std": "1"}, "hallucination"),
    "noise above 1": ({"hallucination.method": "noise", "hallucination.ratio": "1.5"}, "hallucination"),
    "negative spread": ({"hallucination.ratio_std": "-1"}, "hallucination.ratio_std"),
    "ratio for plain": ({"grounding.ratio": "-0.5"}, "grounding"),
    "grounding above 0": ({"grounding.method": "contrastive", "grounding.ratio": "0.1"}, "grounding.ratio"),
    "grounding below -2": ({"grounding.method": "contrastive", "grounding.ratio": "-2.1"}, "grounding.ratio"),
    "unknown grounding": ({"grounding.method": "solid"}, "grounding.method"),
    "unknown method": ({"hallucination.method": "hypnosis"}, "hallucination.method"),
    "negative max_tokens": ({"max_tokens": "-1"}, "max_tokens"),
    "max_tokens 0": ({"max_tokens": "0"}, "max_tokens"),
    "max_tokens no number": ({"max_tokens": "many"}, "max_tokens"),
    "temperature": ({"temperature": "-0.1"}, "temperature"),
    "temperature NaN": ({"temperature": "nan"}, "temperature"),
    "top_p": ({"top_p": "0"}, "top_p"),
    "top_k": ({"top_k": "-1"}, "top_k"),
    "seed": ({"seed": "-1"}, "seed"),
    "seed past 63 bits": ({"seed": str(2**63)}, "seed"),
    "empty prompt": ({"prompt": ""}, "prompt"),
    "blank prompt": ({"prompt": " \n"}, "prompt"),
    "NUL in prompt": ({"prompt": "a\0b"}, "prompt"),
    "prompt without end": ({"prompt": "a" * 100_001}, "prompt"),
    "unknown field": ({"tempratur": "1"}, "tempratur"),
    "unknown dotted field": ({"hallucination.h": "1"}, "hallucination.h"),
}
BAD_JSON: dict[str, tuple[bytes | dict[str, Any], int, str]] = {
    "no JSON": (b"{", 400, "malformed-request"),
    "no UTF-8": (b'{"prompt": "\xff"}', 400, "malformed-request"),
    "deep": (b"[" * 100_000, 400, "malformed-request"),
    "960 deep": (b'{"image": "eA==", "prompt": ' + b"[" * 960 + b"]" * 960 + b"}", 400, "malformed-request"),
    "900 deep": (b'{"image": "eA==", "prompt": ' + b"[" * 900 + b"]" * 900 + b"}", 400, "malformed-request"),
    "a list": (b"[]", 400, "malformed-request"),
    "no image": ({}, 422, "invalid-field"),
    "image of a wrong type": ({"image": 7}, 422, "invalid-field"),
    "image not base64": ({"image": "***"}, 422, "invalid-field"),
    "text for a number": ({"image": base64.b64encode(GOOD).decode(), "max_tokens": "64"}, 422, "invalid-field"),
    "truth for a number": ({"image": base64.b64encode(GOOD).decode(), "max_tokens": True}, 422, "invalid-field"),
    "hallucination no object": ({"image": base64.b64encode(GOOD).decode(), "hallucination": 1}, 422, "invalid-field"),
    "lone surrogate": (b'{"image": "eA==", "prompt": "\\ud800"}', 400, "malformed-request"),
    "not an image": ({"image": base64.b64encode(b"hello").decode()}, 415, "not-an-image"),
}


@pytest.fixture(scope="module")
async def served(valkey_url: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Served]:
    """One gateway for all that is refused: what a test sends leaves nothing behind. Its model is away."""
    folder = tmp_path_factory.mktemp("refusing")
    (folder / "judgefree.toml").touch()
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("JUDGEFREE_CONFIG", str(folder / "judgefree.toml"))
        settings = load_settings(
            redis_url=valkey_url,
            namespace=f"test-{uuid4().hex}",
            data_dir=folder,
            mllm_url=f"http://127.0.0.1:{free_port()}",
        )
    async with serving(settings) as running:
        yield running


@pytest.fixture
def decoded_gifs(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The mode of each frame of a GIF that Pillow decodes, in turn."""
    modes: list[str] = []

    def decoder(mode: str, *arguments: Any) -> Any:
        modes.append(mode)
        return Image.core.gif_decoder(mode, *arguments)

    monkeypatch.setitem(Image.DECODERS, "gif", decoder)
    return modes


def assert_problem(answer: httpx.Response, status: int, kind: str) -> dict[str, Any]:
    problem: dict[str, Any] = answer.json()
    assert (answer.status_code, problem["type"]) == (status, f"{TYPE_PREFIX}{kind}"), problem
    assert answer.headers["content-type"] == "application/problem+json"
    assert problem["status"] == status
    assert problem["title"]
    assert problem["detail"]
    assert not _INTERNAL.search(answer.text), answer.text
    return problem


async def _nothing_was_accepted(served: Served) -> None:
    depth = await served.gateway.queue.depth()
    assert (depth.jobs, depth.candidates, depth.dead) == (0, 0, 0)


@pytest.mark.parametrize("name", BAD_IMAGES)
async def test_a_bad_image_refuses_the_request_and_is_named(served: Served, name: str) -> None:
    raw, status, kind = BAD_IMAGES[name]
    files = [("image", ("good.png", GOOD)), ("image", ("bad", raw))]
    problem = assert_problem(await served.http.post("/v1/pairs", files=files), status, kind)
    assert "image 1" in problem["detail"]
    await _nothing_was_accepted(served)


@pytest.mark.parametrize("name", BAD_FIELDS)
async def test_a_bad_field_is_named(served: Served, name: str) -> None:
    fields, culprit = BAD_FIELDS[name]
    answer = await served.http.post("/v1/pairs", files={"image": GOOD}, data=fields)
    problem = assert_problem(answer, 422, "invalid-field")
    assert [error["field"] for error in problem["errors"]] == [culprit]
    await _nothing_was_accepted(served)


@pytest.mark.parametrize("name", BAD_JSON)
async def test_bad_json(served: Served, name: str) -> None:
    body, status, kind = BAD_JSON[name]
    if isinstance(body, bytes):
        answer = await served.http.post("/v1/pairs", content=body, headers={"content-type": "application/json"})
    else:
        answer = await served.http.post("/v1/pairs", json=body)
    problem = assert_problem(answer, status, kind)
    assert ("deep" in problem["detail"]) == ("deep" in name)


async def test_every_bad_field_is_told_at_once(served: Served) -> None:
    fields = {"max_tokens": "0", "seed": "x", "nonsense": "1"}
    problem = assert_problem(
        await served.http.post("/v1/pairs", files={"image": GOOD}, data=fields), 422, "invalid-field"
    )
    assert {error["field"] for error in problem["errors"]} == set(fields)


async def test_of_an_animation_only_the_first_frame_is_decoded(served: Served, decoded_gifs: list[str]) -> None:
    """200 frames of 4 megapixels would take half a minute; the request passes admission and finds the model away."""
    answer = await served.http.post("/v1/pairs", files={"image": animation(200, (2000, 2000))})
    assert_problem(answer, 503, "model-unavailable")
    assert len(decoded_gifs) == 1


async def test_an_image_with_too_many_bytes(make_settings: MakeSettings) -> None:
    settings = make_settings(max_image_bytes=1000, mllm_url=f"http://127.0.0.1:{free_port()}")
    async with serving(settings) as served:
        for body in ({"files": {"image": b"x" * 1001}}, {"json": {"image": base64.b64encode(b"x" * 1010).decode()}}):
            answer = await served.http.post("/v1/pairs", **body)
            assert "image 0" in assert_problem(answer, 413, "too-large")["detail"]


async def test_a_request_with_too_many_bytes_is_not_read_to_its_end(make_settings: MakeSettings) -> None:
    settings = make_settings(max_request_bytes=10_000, mllm_url=f"http://127.0.0.1:{free_port()}")
    sent = 0

    async def endless() -> Any:
        nonlocal sent
        yield b'--x\r\nContent-Disposition: form-data; name="prompt"\r\n\r\n'
        for _ in range(1000):
            sent += 1000
            yield b"y" * 1000

    async with serving(settings) as served:
        headers = {"content-type": "multipart/form-data; boundary=x"}
        answer = await served.http.post("/v1/pairs", content=endless(), headers=headers)
        assert_problem(answer, 413, "too-large")
        too_long = headers | {"content-length": "20000"}
        assert_problem(await served.http.post("/v1/pairs", content=b"", headers=too_long), 413, "too-large")


async def test_too_many_images(make_settings: MakeSettings) -> None:
    settings = make_settings(max_images=2, mllm_url=f"http://127.0.0.1:{free_port()}")
    async with serving(settings) as served:
        answer = await served.http.post("/v1/pairs", files=[("image", GOOD)] * 3)
        assert_problem(answer, 413, "too-large")
        encoded = base64.b64encode(GOOD).decode()
        assert_problem(await served.http.post("/v1/pairs", json={"images": [encoded] * 3}), 413, "too-large")


async def test_more_images_than_may_ever_be_in_flight(make_settings: MakeSettings) -> None:
    async with serving(make_settings(max_in_flight=2, mllm_url=f"http://127.0.0.1:{free_port()}")) as served:
        answer = await served.http.post("/v1/pairs", files=[("image", GOOD)] * 3)
        assert "more than the 2 images" in assert_problem(answer, 413, "too-large")["detail"]


@pytest.mark.parametrize("content_type", ["text/plain", "image/png", "application/x-www-form-urlencoded", None])
async def test_a_wrong_content_type(served: Served, content_type: str | None) -> None:
    headers = {} if content_type is None else {"content-type": content_type}
    assert_problem(await served.http.post("/v1/pairs", content=GOOD, headers=headers), 415, "unsupported-media-type")


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("multipart/form-data", b"--x--"),
        ("multipart/form-data; boundary=x", b"nonsense"),
        ("multipart/form-data; boundary=x", b'--x\r\nContent-Disposition: form-data; name="image"\r\n\r\nabc'),
        ("multipart/form-data; boundary=x", b"--x\r\nContent-Disposition: form-data\r\n\r\nabc\r\n--x--\r\n"),
        (
            "multipart/form-data; boundary=x",
            b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n\xff\r\n--x--\r\n',
        ),
    ],
)
async def test_a_malformed_form(served: Served, content_type: str, body: bytes) -> None:
    answer = await served.http.post("/v1/pairs", content=body, headers={"content-type": content_type})
    assert_problem(answer, 400, "malformed-request")


async def test_a_field_given_twice(served: Served) -> None:
    answer = await served.http.post("/v1/pairs", files=[("image", GOOD)], data={"seed": ["1", "2"]})
    assert_problem(answer, 422, "invalid-field")


async def test_a_form_without_an_image(served: Served) -> None:
    answer = await served.http.post("/v1/pairs", files={"picture": GOOD})
    assert_problem(answer, 422, "invalid-field")


@pytest.mark.parametrize("key", ["", "x" * 256, "tab\there"])
async def test_a_bad_idempotency_key(served: Served, key: str) -> None:
    answer = await served.http.post("/v1/pairs", files={"image": GOOD}, headers={"Idempotency-Key": key})
    assert_problem(answer, 400, "malformed-request")


@pytest.mark.parametrize(
    ("pair_id", "kind"),
    [
        ("nonsense", "unknown-pair"),
        ("../etc/passwd", "not-found"),
        ("0198c0de-0000-7000-8000-000000000000", "unknown-pair"),
        ("%00", "unknown-pair"),
        ("é", "unknown-pair"),
    ],
)
@pytest.mark.parametrize("rest", ["", "/image"])
async def test_an_unknown_id(served: Served, pair_id: str, kind: str, rest: str) -> None:
    assert_problem(await served.http.get(f"/v1/pairs/{pair_id}{rest}"), 404, kind)


async def test_a_review_of_an_unknown_pair(served: Served) -> None:
    answer = await served.http.put("/v1/pairs/0198c0de-0000-7000-8000-000000000000/review", json={"verdict": "keep"})
    assert_problem(answer, 404, "unknown-pair")


@pytest.mark.parametrize("body", [b"{", b"[]", b'{"verdict": "maybe"}', b"{}", b'{"verdict": "keep", "x": 1}'])
async def test_a_bad_review(served: Served, body: bytes) -> None:
    answer = await served.http.put("/v1/pairs/0198c0de-0000-7000-8000-000000000000/review", content=body)
    assert_problem(answer, 422, "invalid-field")


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=201",
        "limit=x",
        "decision=nice",
        "min_margin=-1",
        "min_margin=nan",
        "since=yesterday",
        "since=0001-01-01T00:00:00%2B05:00",
        "cursor=next",
        "policy=%00",
    ],
)
async def test_a_bad_filter(served: Served, query: str) -> None:
    problem = assert_problem(await served.http.get(f"/v1/pairs?{query}"), 422, "invalid-field")
    assert [error["field"] for error in problem["errors"]] == [query.partition("=")[0]]


@pytest.mark.parametrize("query", ["format=csv", "verdict=nice"])
async def test_a_bad_export(served: Served, query: str) -> None:
    assert_problem(await served.http.get(f"/v1/export?{query}"), 422, "invalid-field")


async def test_unknown_routes_and_methods(served: Served) -> None:
    assert_problem(await served.http.get("/v2/pairs"), 404, "not-found")
    answer = await served.http.delete("/v1/pairs")
    assert_problem(answer, 405, "method-not-allowed")
    assert answer.headers["allow"]


async def test_a_good_request_while_the_model_is_away(served: Served) -> None:
    answer = await served.http.post("/v1/pairs", files={"image": GOOD})
    assert_problem(answer, 503, "model-unavailable")
    assert int(answer.headers["retry-after"]) > 0
    await _nothing_was_accepted(served)


async def test_uploads_share_a_bounded_room(make_settings: MakeSettings) -> None:
    """Four uploads of the largest size that stop in the middle fill the room: a fifth waits until one of them ends."""
    settings = make_settings(max_request_bytes=10_000, mllm_url=f"http://127.0.0.1:{free_port()}")
    going_on = asyncio.Event()

    async def halting() -> AsyncIterator[bytes]:
        yield b"--x\r\n"
        await going_on.wait()

    async with serving(settings) as served:
        headers = {"content-type": "multipart/form-data; boundary=x"}
        uploads = [
            asyncio.create_task(served.http.post("/v1/pairs", content=halting(), headers=headers)) for _ in range(4)
        ]
        await asyncio.sleep(0.2)
        fifth = asyncio.create_task(served.http.post("/v1/pairs", files={"image": GOOD}))
        done, _ = await asyncio.wait([fifth], timeout=0.3)
        assert not done
        going_on.set()
        assert_problem(await fifth, 503, "model-unavailable")
        for upload in uploads:
            assert_problem(await upload, 400, "malformed-request")
