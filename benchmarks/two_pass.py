"""What paired decoding gains over the loop that one would write by hand: blend pairs/s, served against two-pass.

    python -m benchmarks.two_pass [--images 200] [--rounds 3] [--in-flight 48] [--ratio 0.6]

The loop is Hugging Face's model at batch 1 with a KV cache for each context (`workers.mllm.reference`). The server is
`python -m workers.mllm` on the same model, float32 and cores, asked over HTTP, `--in-flight` pairs at a time. A round
measures both on the same fresh scenes, one after the other, the order changing from round to round. The figure is the
median over the rounds of served / loop; it counts only if every served text is the loop's, but for float ties.
Writes benchmarks/results/two_pass.json.
"""

import argparse
import asyncio
import base64
import io
import os
import statistics
import sys
import time
from contextlib import AbstractContextManager
from typing import Any
from uuid import uuid4

import torch
from aiohttp import ClientSession, ClientTimeout, TCPConnector
from PIL import Image

from benchmarks.machine import write_result
from benchmarks.serving import MLLM_THREADS, serving
from demo.scenes import draw_scenes, pixels_of
from judgefree.demonstration import free_ports
from pairs.settings import local_model
from workers.mllm.reference import TwoPass

PROMPT = "Describe the image."
MAX_TOKENS = 128


def served_model(folder: str) -> AbstractContextManager[str]:
    """The base URL of a vLLM with paired decoding that serves `folder`, with the threads that `judgefree up` gives it.

    Raises RuntimeError if it does not come up.
    """
    [port] = free_ports(1)
    command = [sys.executable, "-m", "workers.mllm", "--model", folder, "--served-model-name", "mllm"]
    return serving([*command, "--port", str(port)], os.environ | {"OMP_NUM_THREADS": str(MLLM_THREADS)}, port)


async def through_the_server(url: str, images: list[Image.Image], ratio: float, in_flight: int) -> list[str]:
    """The text of every pair; raises RuntimeError when the twins of a pair differ."""
    gate = asyncio.Semaphore(in_flight)
    async with ClientSession(connector=TCPConnector(limit=0), timeout=ClientTimeout(300)) as http:

        async def ask(image: Image.Image | None, twin: str, role: str) -> str:
            request = _request(image, twin, role, ratio)
            async with http.post(f"{url}/v1/chat/completions", json=request, raise_for_status=True) as response:
                text: str = (await response.json())["choices"][0]["message"]["content"]
            return text

        async def pair(image: Image.Image) -> str:
            twin = uuid4().hex
            async with gate:
                grounded, blind = await asyncio.gather(ask(image, twin, "grounded"), ask(None, twin, "blind"))
            if grounded != blind:
                raise RuntimeError(f"the twins differ: {grounded!r} and {blind!r}")
            return grounded.strip()

        return await asyncio.gather(*(pair(image) for image in images))


def _request(image: Image.Image | None, twin: str, role: str, ratio: float) -> dict[str, Any]:
    content: list[dict[str, Any]] = [{"type": "text", "text": PROMPT}]
    if image is not None:
        encoded = io.BytesIO()
        image.save(encoded, "PNG")
        url = f"data:image/png;base64,{base64.b64encode(encoded.getvalue()).decode()}"
        content.insert(0, {"type": "image_url", "image_url": {"url": url}})
    return {
        "model": "mllm",
        "messages": [{"role": "user", "content": content}],
        "temperature": 0,
        "max_tokens": MAX_TOKENS,
        "vllm_xargs": {"judgefree_twin": twin, "judgefree_role": role, "judgefree_ratio": ratio},
    }


def one_round(url: str, reference: TwoPass, images: list[Image.Image], flags: argparse.Namespace, turn: int) -> Any:
    """Pairs/s of both ways on `images`, and how many of the texts are equal."""
    texts: dict[str, list[str]] = {}
    rates: dict[str, float] = {}
    for way in ("served", "loop") if turn % 2 == 0 else ("loop", "served"):
        began = time.perf_counter()
        if way == "served":
            texts[way] = asyncio.run(through_the_server(url, images, flags.ratio, flags.in_flight))
        else:
            texts[way] = [reference.answer(PROMPT, image, flags.ratio, MAX_TOKENS).text for image in images]
        rates[way] = len(images) / (time.perf_counter() - began)
    equal = sum(one == other for one, other in zip(texts["served"], texts["loop"], strict=True))
    result = {**{f"{way}_pairs_per_s": round(rate, 2) for way, rate in rates.items()}, "equal_texts": equal}
    print(f"round {turn + 1}: {result}", flush=True)
    return {**result, "served_over_loop": rates["served"] / rates["loop"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--in-flight", type=int, default=48, help="pairs at a time at the server")
    parser.add_argument("--ratio", type=float, default=0.6, help="the hallucination ratio")
    flags = parser.parse_args()
    folder = local_model("demo", "mllm")
    reference = TwoPass(folder)
    with served_model(folder) as url:
        warm_up = [Image.fromarray(pixels_of(scene)) for scene in draw_scenes("in_distribution", 4999, range(8))]
        one_round(url, reference, warm_up, flags, 0)
        rounds = []
        for turn in range(flags.rounds):
            scenes = draw_scenes("in_distribution", 5000 + turn, range(flags.images))
            rounds.append(one_round(url, reference, [Image.fromarray(pixels_of(s)) for s in scenes], flags, turn))
    result = {
        "images": flags.images,
        "in_flight": flags.in_flight,
        "hallucination_ratio": flags.ratio,
        "loop_threads": torch.get_num_threads(),
        "served_threads": MLLM_THREADS,
        "rounds": rounds,
        "served_over_loop": round(statistics.median(found["served_over_loop"] for found in rounds), 2),
        "equal_texts": sum(found["equal_texts"] for found in rounds) / (flags.images * flags.rounds),
    }
    print(f"served / loop = {result['served_over_loop']}; equal texts {result['equal_texts']:.2%}")
    print(f"written to {write_result('two_pass', result)}")


if __name__ == "__main__":
    main()
