"""What the service costs over the model alone: pairs/s through HTTP against the same requests sent straight to vLLM.

    python -m benchmarks.end_to_end [--images 200] [--rounds 3]

Starts the whole system as `judgefree up` does. A round measures both ways on fresh scenes, one after the other, the
order changing from round to round: (a) POST every image, until every pair rests in the store; (b) the same normal,
grounded and blind requests sent straight to the same vLLM, as many pairs in flight as the pairer has. The figure is
the median over the rounds of (a) / (b). Writes benchmarks/results/end_to_end.json.
"""

import argparse
import asyncio
import base64
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import httpx
from httpx_aiohttp import HttpxAiohttpClient

from benchmarks.machine import write_result
from pairs.settings import Settings, load_settings

RATIO = 0.5
POSTS_AT_A_TIME = 8


@dataclass(frozen=True)
class System:
    gateway_url: str
    settings: Settings


Measure = Callable[[System, list[bytes]], Awaitable[float]]


async def through_the_service(system: System, images: list[bytes]) -> float:
    """Pairs/s from the first POST until the last pair is done."""
    gate = asyncio.Semaphore(POSTS_AT_A_TIME)
    async with httpx.AsyncClient(base_url=system.gateway_url, timeout=60) as client:

        async def post(image: bytes) -> str:
            async with gate:
                fields = {"hallucination.ratio": str(RATIO), "seed": "1"}
                response = await client.post("/v1/pairs", files={"image": image}, data=fields)
                found: str = response.raise_for_status().json()["pairs"][0]["id"]
                return found

        began = time.perf_counter()
        ids = await asyncio.gather(*(post(image) for image in images))
        while True:
            queue = (await client.get("/v1/stats")).raise_for_status().json()["queue"]
            if queue["jobs"] + queue["candidates"] == 0:
                break
            await asyncio.sleep(0.05)
        took = time.perf_counter() - began
        for pair_id in ids:
            if (await client.get(f"/v1/pairs/{pair_id}")).raise_for_status().json()["status"] != "done":
                raise RuntimeError(f"pair {pair_id} is not done")
    return len(images) / took


async def straight_to_the_model(system: System, images: list[bytes]) -> float:
    """Pairs/s of the three requests of each pair, `pairer_concurrency` pairs in flight."""
    settings = system.settings
    gate = asyncio.Semaphore(settings.pairer_concurrency)
    limits = httpx.Limits(max_connections=3 * settings.pairer_concurrency)
    async with HttpxAiohttpClient(base_url=settings.mllm_url, timeout=300, limits=limits) as client:

        async def complete(image: bytes | None, xargs: dict[str, str | float]) -> str:
            parts: list[dict[str, object]] = []
            if image is not None:
                url = "data:image/png;base64," + base64.b64encode(image).decode()
                parts.append({"type": "image_url", "image_url": {"url": url}})
            parts.append({"type": "text", "text": settings.prompt})
            body: dict[str, object] = {
                "model": settings.model,
                "messages": [{"role": "user", "content": parts}],
                "max_tokens": settings.max_tokens,
                "temperature": 0,
            }
            response = await client.post("/v1/chat/completions", json=body | ({"vllm_xargs": xargs} if xargs else {}))
            text: str = response.raise_for_status().json()["choices"][0]["message"]["content"]
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
def running_system(folder: Path) -> Iterator[System]:
    """`judgefree up` on free ports, in a folder of its own."""
    gateway, mllm, verifier, redis = _free_ports(4)
    own = {
        "JUDGEFREE_PORT": str(gateway),
        "JUDGEFREE_MLLM_PORT": str(mllm),
        "JUDGEFREE_MLLM_URL": f"http://127.0.0.1:{mllm}",
        "JUDGEFREE_VERIFIER_PORT": str(verifier),
        "JUDGEFREE_REDIS_URL": f"redis://127.0.0.1:{redis}/0",
        "JUDGEFREE_DATA_DIR": str(folder / "data"),
    }
    os.environ |= own
    system = System(f"http://127.0.0.1:{gateway}", load_settings())
    up = subprocess.Popen([sys.executable, "-m", "judgefree", "up"], start_new_session=True)
    try:
        _wait_until_ready(up, f"{system.gateway_url}/readyz")
        yield system
    finally:
        up.send_signal(signal.SIGINT)
        up.wait(60)


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [listening.getsockname()[1] for listening in sockets]
    for listening in sockets:
        listening.close()
    return ports


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
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, running_system(Path(folder)) as system:
        figures = asyncio.run(measure(system, options.images, options.rounds, Path(folder)))
    ratios = [service / model for service, model in zip(figures["service"], figures["model"], strict=True)]
    result = {
        "images": options.images,
        "pairs_in_flight": load_settings().pairer_concurrency,
        "pairs_per_s": figures,
        "ratios": ratios,
        "ratio": statistics.median(ratios),
    }
    print(f"service / model: {result['ratio']:.2f}  -> {write_result('end_to_end', result)}")


if __name__ == "__main__":
    main()
