"""What paired decoding costs, and what it gains: ratios, each of two ways measured in turns in one run.

    python -m benchmarks.paired_decoding [--twins] [--loop] [--ordinary] [--processor]    (default: all)

--twins      tokens/s of N twin pairs against the same 2N requests without twin arguments, on the same server
--loop       tokens/s of 64 twin pairs in flight against Hugging Face's two-pass loop, at batch 1 and its best batch
--ordinary   an ordinary request's latency on a server with scheduler and processor loaded, against one without
--processor  the logits processor's share of a step with 64 twins and a vocabulary of 128,000; what grows with steps

Every answer has the same number of tokens (`ignore_eos`). In each round the two ways go in the order A B B A on the
same images, so that neither always finds the caches warm; the median over the rounds counts. In each of the N places
four pairs or requests follow each other. Beside the clock's time stands the servers' processor time, which other guests
of a shared machine disturb less. Writes benchmarks/results/paired_decoding_PART.json, one for each part.
"""

import argparse
import asyncio
import base64
import io
import os
import random
import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import psutil
import torch
from aiohttp import ClientSession, ClientTimeout, TCPConnector
from PIL import Image

from benchmarks.machine import write_result
from benchmarks.serving import MLLM_THREADS, serving
from demo.scenes import draw_scenes, pixels_of
from judgefree.demonstration import free_ports
from pairs.settings import local_model
from workers.mllm.launch import SERVER, Launch, arguments, environment

PROMPT = "Describe the image."
TOKENS = 96
RATIO = 0.6
MAX_NUM_SEQS = 256
ROUNDS = {1: 30, 8: 20, 64: 8}
ORDINARY_ROUNDS = {1: 40, 8: 25}
"""Pairs, or requests, in flight -> rounds, of which the median counts: other guests of a machine move single ones by a
tenth. The fewer in flight, the shorter a round."""
IN_TURN = 4
"""How many follow each other in each place: a single burst would measure how images come in, not how tokens go out."""

Way = Callable[[Sequence[str]], Awaitable[float]]
"""Sends a request or a pair for each of some images, and returns the seconds until all are answered."""


def server(with_plugin: bool = True) -> AbstractContextManager[str]:
    """The base URL of vLLM on the demo's model: as `workers.mllm` starts it, or without our classes.

    Raises RuntimeError if it does not come up.
    """
    [port] = free_ports(1)
    launch = Launch(local_model("demo", "mllm"), "mllm", port=port, max_num_seqs=MAX_NUM_SEQS)
    given = arguments(launch, is_cpu=True)
    if not with_plugin:
        for flag in ("--scheduler-cls", "--logits-processors"):
            del given[given.index(flag) : given.index(flag) + 2]
    cores = sorted(os.sched_getaffinity(0))
    environ = environment(launch, True, os.environ | {"OMP_NUM_THREADS": str(MLLM_THREADS)}, cores)
    return serving([sys.executable, "-m", SERVER, *given], environ, port)


class Asker:
    """A client of one server with so many pairs, or requests, in flight at most.

    Raises RuntimeError when an answer is not what was asked for.
    """

    def __init__(self, http: ClientSession, url: str, in_flight: int) -> None:
        self._http = http
        self._in_flight = in_flight
        self._url = f"{url}/v1/chat/completions"

    async def twins(self, pictures: Sequence[str]) -> float:
        return await self._timed(pictures, with_blind=True, as_twins=True)

    async def same_without_arguments(self, pictures: Sequence[str]) -> float:
        return await self._timed(pictures, with_blind=True, as_twins=False)

    async def ordinary(self, pictures: Sequence[str]) -> float:
        return await self._timed(pictures, with_blind=False, as_twins=False)

    async def _timed(self, pictures: Sequence[str], with_blind: bool, as_twins: bool) -> float:
        places = asyncio.Semaphore(self._in_flight)

        async def ask(picture: str) -> None:
            twin = uuid4().hex if as_twins else None
            asked = [self._ask(picture, twin, "grounded")]
            if with_blind:
                asked.append(self._ask(None, twin, "blind"))
            async with places:
                texts = await asyncio.gather(*asked)
            if as_twins and texts[0] != texts[1]:
                raise RuntimeError("The twins of a pair differ.")

        began = time.perf_counter()
        await asyncio.gather(*(ask(picture) for picture in pictures))
        return time.perf_counter() - began

    async def _ask(self, picture: str | None, twin: str | None, role: str) -> str:
        content: list[dict[str, Any]] = [{"type": "text", "text": PROMPT}]
        if picture is not None:
            content.insert(0, {"type": "image_url", "image_url": {"url": picture}})
        body: dict[str, Any] = {"model": "mllm", "messages": [{"role": "user", "content": content}], "temperature": 0}
        body |= {"max_tokens": TOKENS, "ignore_eos": True}
        if twin is not None:
            body["vllm_xargs"] = {"judgefree_twin": twin, "judgefree_role": role, "judgefree_ratio": RATIO}
        async with self._http.post(self._url, json=body, raise_for_status=True) as response:
            answer = await response.json()
        if answer["usage"]["completion_tokens"] != TOKENS:
            raise RuntimeError(f"An answer has {answer['usage']['completion_tokens']} tokens: {answer['choices'][0]}")
        text: str = answer["choices"][0]["message"]["content"]
        return text


@dataclass(frozen=True)
class Cost:
    """Seconds by the clock, and of processor time of all servers."""

    clock_s: float
    processor_s: float

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(self.clock_s + other.clock_s, self.processor_s + other.processor_s)


async def cost_of(way: Way, asked: Sequence[str]) -> Cost:
    before = processor_s()
    clock_s = await way(asked)
    return Cost(clock_s, processor_s() - before)


def processor_s() -> float:
    """Processor time so far of everything that this process has started."""
    times = [process.cpu_times() for process in psutil.Process().children(recursive=True)]
    return sum(time.user + time.system for time in times)


async def in_turns(one: Way, other: Way, count: int, rounds: int) -> list[tuple[Cost, Cost]]:
    """What both ways cost in each round, A B B A; every A B and B A has images of its own."""
    found = []
    for turn in range(-1, rounds):  # the first one warms up
        first, second = pictures(count), pictures(count)
        order = ((one, first), (other, first), (other, second), (one, second))
        costs = [await cost_of(way, asked) for way, asked in order]
        if turn >= 0:
            found.append((costs[0] + costs[3], costs[1] + costs[2]))
    return found


def pictures(count: int) -> list[str]:
    """Fresh scenes, as data URLs."""
    return [data_url(image) for image in scenes(count)]


def scenes(count: int) -> list[Image.Image]:
    seed = random.getrandbits(30)
    return [Image.fromarray(pixels_of(scene)) for scene in draw_scenes("in_distribution", seed, range(count))]


def data_url(image: Image.Image) -> str:
    encoded = io.BytesIO()
    image.save(encoded, "PNG")
    return f"data:image/png;base64,{base64.b64encode(encoded.getvalue()).decode()}"


def session() -> ClientSession:
    """Connections are given up before vLLM closes them: it does so after 5 s, and the loop takes longer."""
    return ClientSession(connector=TCPConnector(limit=0, keepalive_timeout=2), timeout=ClientTimeout(300))


def summary(rounds: list[tuple[Cost, Cost]], tokens: int, names: tuple[str, str]) -> dict[str, Any]:
    """Median tokens/s of both ways, and the first way's speed over the second's: median, and of every round."""
    clock = sorted(second.clock_s / first.clock_s for first, second in rounds)
    processor = sorted(second.processor_s / first.processor_s for first, second in rounds)
    return {
        f"{names[0]}_tokens_per_s": round(2 * tokens / statistics.median(first.clock_s for first, _ in rounds), 1),
        f"{names[1]}_tokens_per_s": round(2 * tokens / statistics.median(second.clock_s for _, second in rounds), 1),
        "ratio": round(statistics.median(clock), 4),
        "processor_time_ratio": round(statistics.median(processor), 4),
        "ratios": [round(ratio, 3) for ratio in clock],
        "processor_time_ratios": [round(ratio, 3) for ratio in processor],
    }


async def twins_against_plain() -> dict[str, Any]:
    found: dict[str, Any] = {}
    with server() as url:
        async with session() as http:
            for pairs, rounds in ROUNDS.items():
                asker, count = Asker(http, url, pairs), pairs * IN_TURN
                taken = await in_turns(asker.twins, asker.same_without_arguments, count, rounds)
                found[f"{pairs} pairs"] = summary(taken, 2 * count * TOKENS, ("twins", "plain"))
                print(pairs, found[f"{pairs} pairs"], flush=True)
    return found


async def ordinary_with_and_without() -> dict[str, Any]:
    found: dict[str, Any] = {}
    with ExitStack() as servers:
        urls = [servers.enter_context(server(with_plugin)) for with_plugin in (True, False)]
        async with session() as http:
            for at_a_time, rounds in ORDINARY_ROUNDS.items():
                loaded, bare = (Asker(http, url, at_a_time).ordinary for url in urls)
                count = at_a_time * IN_TURN
                taken = await in_turns(loaded, bare, count, rounds)
                found[f"{at_a_time} at a time"] = summary(taken, count * TOKENS, ("with", "without"))
                print(at_a_time, found[f"{at_a_time} at a time"], flush=True)
    return found


async def served_against_loop(pairs: int = 64, rounds: int = 3) -> dict[str, Any]:
    from benchmarks.static_batch import Loop

    loop = Loop.load(local_model("demo", "mllm"))
    threads = {count: _loop_rate(loop, count, 1, 3) for count in range(1, 1 + len(os.sched_getaffinity(0)))}
    best_threads = max(threads, key=lambda count: threads[count])
    batches = {batch: _loop_rate(loop, best_threads, batch, max(2, 64 // batch)) for batch in (8, 16, 32, 64, 128)}
    best_batch = max(batches, key=lambda batch: batches[batch])
    table = []
    with server() as url:
        async with session() as http:
            twins = Asker(http, url, pairs).twins
            count = pairs * IN_TURN
            await twins(pictures(count))
            for _ in range(rounds):
                served = count * TOKENS / await twins(pictures(count))
                row = {"served": served, "batch 1": _loop_rate(loop, best_threads, 1, 6)}
                row["best batch"] = _loop_rate(loop, best_threads, best_batch, max(1, 128 // best_batch))
                row["served"] = (served + count * TOKENS / await twins(pictures(count))) / 2
                table.append({name: round(rate, 1) for name, rate in row.items()})
                print(table[-1], flush=True)
    over = {name: statistics.median(row["served"] / row[name] for row in table) for name in ("batch 1", "best batch")}
    return {
        "pairs_in_flight": pairs,
        "best_static_batch": best_batch,
        "loop_threads": best_threads,
        "served_threads": MLLM_THREADS,
        "blended_tokens_per_s": table,
        "loop_tokens_per_s_by_batch": {str(batch): round(rate, 1) for batch, rate in batches.items()},
        **{f"served_over_{name.replace(' ', '_')}": round(ratio, 2) for name, ratio in over.items()},
    }


def _loop_rate(loop: Any, threads: int, batch: int, repeats: int) -> float:
    """Blended tokens/s of the loop."""
    torch.set_num_threads(threads)
    rate: float = loop.tokens_per_s(PROMPT, scenes(batch * repeats), batch, RATIO, TOKENS)
    return rate


def processor_alone() -> dict[str, Any]:
    from benchmarks.processor_share import share_of_a_step

    return share_of_a_step()


PARTS: dict[str, Callable[[], Any]] = {
    "twins": twins_against_plain,
    "loop": served_against_loop,
    "ordinary": ordinary_with_and_without,
    "processor": processor_alone,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for part in PARTS:
        parser.add_argument(f"--{part}", action="store_true")
    flags = vars(parser.parse_args())
    for part in [name for name in PARTS if flags[name]] or list(PARTS):
        found = PARTS[part]()
        result = asyncio.run(found) if asyncio.iscoroutine(found) else found
        settings = {"tokens": TOKENS, "in_turn": IN_TURN, "hallucination_ratio": RATIO, "threads": MLLM_THREADS}
        path = write_result(f"paired_decoding_{part}", result if part == "processor" else settings | result)
        print(f"written to {path}")


if __name__ == "__main__":
    main()
