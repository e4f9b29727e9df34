"""What the service costs over the model alone: pairs/s through HTTP against the same requests sent straight to vLLM.

    python -m benchmarks.end_to_end [--images 200] [--images-a-request 8] [--rounds 3]

Starts the whole system as `judgefree up` does. A round measures both ways on fresh scenes, one after the other, the
order changing from round to round: (a) POST the images, some in a request, until every pair rests in the store; (b) the
same normal, grounded and blind requests sent straight to the same vLLM, as many pairs in flight as the pairer has. The
figure is the median over the rounds of (a) / (b). Writes benchmarks/results/end_to_end.json.
"""

import argparse
import asyncio
import base64
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
from aiohttp import ClientSession, ClientTimeout, FormData, TCPConnector

from benchmarks.machine import write_result
from judgefree.demonstration import free_ports
from pairs.settings import Settings, load_settings

RATIO = 0.5
POSTED_AT_A_TIME = 8
"""Images, in one request or several."""


@dataclass(frozen=True)
class System:
    gateway_url: str
    settings: Settings
    images_a_request: int = 1


Measure = Callable[[System, list[bytes]], Awaitable[float]]


async def through_the_service(system: System, images: list[bytes]) -> float:
    """Pairs/s from the first POST until the last pair is done."""
    size = system.images_a_request
    gate = asyncio.Semaphore(max(1, POSTED_AT_A_TIME // size))
    async with a_client() as client:

        async def get(path: str) -> Any:
            async with client.get(system.gateway_url + path) as response:
                return await response.json()

        async def post(some: Sequence[bytes]) -> list[str]:
            form = FormData({"hallucination.ratio": str(RATIO), "seed": "1"})
            for image in some:
                form.add_field("image", image, filename="image.png")
            async with gate, client.post(f"{system.gateway_url}/v1/pairs", data=form) as response:
                return [pair["id"] for pair in (await response.json())["pairs"]]

        began = time.perf_counter()
        posted = await asyncio.gather(*(post(images[at : at + size]) for at in range(0, len(images), size)))
        while True:
            queue = (await get("/v1/stats"))["queue"]
            left = queue["jobs"] + queue["candidates"]
            if left == 0:
                break
            await asyncio.sleep(max(0.02, 0.005 * left))  # a look costs the gateway some, so look more often at the end
        took = time.perf_counter() - began
        for pair_id in chain(*posted):
            if (await get(f"/v1/pairs/{pair_id}"))["status"] != "done":
                raise RuntimeError(f"pair {pair_id} is not done")
    return len(images) / took


def a_client() -> ClientSession:
    """One that is cheap enough not to be measured: whatever it takes, it takes from the cores of the system."""
    return ClientSession(connector=TCPConnector(limit=0), timeout=ClientTimeout(300), raise_for_status=True)


async def straight_to_the_model(system: System, images: list[bytes]) -> float:
    """Pairs/s of the three requests of each pair, `pairer_concurrency` pairs in flight."""
    settings = system.settings
    url = f"{settings.mllm_url}/v1/chat/completions"
    gate = asyncio.Semaphore(settings.pairer_concurrency)
    async with a_client() as client:

        async def complete(image: bytes | None, xargs: dict[str, str | float]) -> str:
            parts: list[dict[str, object]] = []
            if image is not None:
                uri = "data:image/png;base64," + base64.b64encode(image).decode()
                parts.append({"type": "image_url", "image_url": {"url": uri}})
            parts.append({"type": "text", "text": settings.prompt})
            body: dict[str, object] = {
                "model": settings.model,
                "messages": [{"role": "user", "content": parts}],
                "max_tokens": settings.max_tokens,
                "temperature": 0,
            }
            if xargs:
                body["vllm_xargs"] = xargs
            async with client.post(url, json=body) as response:
                text: str = (await response.json())["choices"][0]["message"]["content"]
            return text

        async def pair(image: bytes) -> None:
            async with gate:
                twin: dict[str, str | float] = {"judgefree_twin": uuid4().hex, "judgefree_ratio": RATIO}
                _, grounded, blind = await asyncio.gather(
                    complete(image, {}),
                    complete(image, twin | {"judgefree_role": "grounded"}),
                    complete(None, twin | {"judgefree_role": "blind"}),
                )
                if grounded != blind:
                    raise RuntimeError("twins differ")

        began = time.perf_counter()
        await asyncio.gather(*(pair(image) for image in images))
        return len(images) / (time.perf_counter() - began)


async def measure(system: System, count: int, rounds: int, folder: Path) -> dict[str, list[float]]:
    ways: dict[str, Measure] = {"service": through_the_service, "model": straight_to_the_model}
    figures: dict[str, list[float]] = {name: [] for name in ways}
    for name, way in ways.items():  # a warm-up that is not counted
        await way(system, render(folder, count // 4, seed=fresh_seed(name, 0)))
    for number in range(1, rounds + 1):
        order = list(ways) if number % 2 else list(reversed(ways))
        for name in order:
            pairs_per_s = await ways[name](system, render(folder, count, fresh_seed(name, number)))
            figures[name].append(pairs_per_s)
            print(f"round {number}  {name:8}{pairs_per_s:6.1f} pairs/s", flush=True)
    return figures


def fresh_seed(name: str, number: int) -> int:
    """A seed that no other measurement has: fresh scenes each time, so that no cache flatters either way."""
    return {"service": 1000, "model": 2000}[name] + number


def render(folder: Path, count: int, seed: int) -> list[bytes]:
    out = folder / f"scenes-{seed}"
    command = [sys.executable, "-m", "demo", "render", "--out", str(out), "--count", str(count), "--seed", str(seed)]
    subprocess.run([*command, "--split", "theme_breaking"], check=True, stdout=subprocess.DEVNULL)
    return [path.read_bytes() for path in sorted(out.glob("*.png"))]


@contextmanager
def running_system(folder: Path, images_a_request: int = 1) -> Iterator[System]:
    """`judgefree up` on free ports, in a folder of its own."""
    gateway, mllm, verifier, redis = free_ports(4)
    own = {
        "JUDGEFREE_PORT": str(gateway),
        "JUDGEFREE_MLLM_PORT": str(mllm),
        "JUDGEFREE_MLLM_URL": f"http://127.0.0.1:{mllm}",
        "JUDGEFREE_VERIFIER_PORT": str(verifier),
        "JUDGEFREE_REDIS_URL": f"redis://127.0.0.1:{redis}/0",
        "JUDGEFREE_DATA_DIR": str(folder / "data"),
    }
    os.environ |= own
    system = System(f"http://127.0.0.1:{gateway}", load_settings(), images_a_request)
    up = subprocess.Popen([sys.executable, "-m", "judgefree", "up"], start_new_session=True)
    try:
        _wait_until_ready(up, f"{system.gateway_url}/readyz")
        yield system
    finally:
        up.send_signal(signal.SIGINT)
        up.wait(60)


def _wait_until_ready(up: "subprocess.Popen[bytes]", url: str, timeout_s: float = 300) -> None:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if up.poll() is not None:
            raise SystemExit(f"`judgefree up` ended with {up.returncode}")
        try:
            if httpx.get(url, timeout=5).is_success:
                return
        except httpx.TransportError:
            pass  # not listening yet
        time.sleep(0.5)
    raise SystemExit(f"{url} is not ready after {timeout_s} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--images-a-request", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, running_system(Path(folder), options.images_a_request) as system:
        figures = asyncio.run(measure(system, options.images, options.rounds, Path(folder)))
    ratios = [service / model for service, model in zip(figures["service"], figures["model"], strict=True)]
    result = {
        "images": options.images,
        "images_a_request": options.images_a_request,
        "pairs_in_flight": load_settings().pairer_concurrency,
        "pairs_per_s": figures,
        "ratios": ratios,
        "ratio": statistics.median(ratios),
    }
    print(f"service / model: {result['ratio']:.2f}  -> {write_result('end_to_end', result)}")


if __name__ == "__main__":
    main()
