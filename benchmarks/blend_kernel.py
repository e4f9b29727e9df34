"""What blending costs by itself, on whatever device, against the least that its memory allows. Needs no vLLM.

    python -m benchmarks.blend_kernel

Two rows of logits are read and two written for each twin; a copy of a large tensor says how fast that can be. On a GPU
the times are the device's own, with its cache emptied before each call. Writes
benchmarks/results/paired_decoding_kernel_DEVICE.json.
"""

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch

from benchmarks.machine import write_result
from workers.mllm.blend import Draw, Mixture, draw_tokens, leave_only, warm

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
RATIO = 0.6


def seconds_of(call: Callable[[], object], least_s: float = 0.5) -> float:
    """Median seconds of a call, over at least five calls and `least_s` seconds."""
    finish(call)
    taken: list[float] = []
    while len(taken) < 5 or sum(taken) < least_s:
        began = time.perf_counter()
        finish(call)
        taken.append(time.perf_counter() - began)
    return statistics.median(taken)


def finish(call: Callable[[], object]) -> None:
    call()
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()


def device_seconds_of(call: Callable[[], object]) -> float:
    """As `seconds_of`; on a GPU by its own clock, each call with a cold cache."""
    if DEVICE.type == "cpu":
        return seconds_of(call)
    from triton.testing import do_bench  # type: ignore[import-not-found, import-untyped, unused-ignore]

    taken: float = do_bench(call, warmup=20, rep=200, return_mode="median")
    return taken / 1e3


def copy_gb_per_s() -> float:
    """What a plain copy moves, read and written, in GB/s."""
    source = torch.ones((64 if DEVICE.type == "cpu" else 512) * 2**20, device=DEVICE)  # past every cache
    target = torch.empty_like(source)
    return 2 * source.nbytes / device_seconds_of(lambda: target.copy_(source)) / 1e9


def kernel() -> dict[str, Any]:
    """Time of one step's work for all twins: greedy (blend both rows), and drawn (blend, draw, leave one choice)."""
    limit = copy_gb_per_s()
    table = []
    for vocab in (32_000, 152_000):
        for twins in (1, 4, 16, 64, 256):
            ways, least_s = ways_of(twins, vocab), 4 * twins * vocab * 4 / (limit * 1e9)
            row: dict[str, Any] = {"vocabulary": vocab, "twins": twins, "limit_ms": round(least_s * 1e3, 4)}
            for way, call in ways.items():
                taken = device_seconds_of(call)
                row |= {f"{way}_ms": round(taken * 1e3, 4), f"{way}_of_limit": round(least_s / taken, 3)}
            print(row, flush=True)
            table.append(row)
    return {"device": device_name(), "copy_gb_per_s": round(limit, 2), "calls": table}


def ways_of(twins: int, vocab: int) -> dict[str, Callable[[], None]]:
    """What the logits processor does at a step, when all twins are greedy and when all are drawn."""
    logits = torch.randn(2 * twins, vocab, device=DEVICE)
    rows = torch.arange(twins, device=DEVICE), torch.arange(twins, 2 * twins, device=DEVICE).flip(0)
    mixture = Mixture.of(*rows, torch.full((twins,), RATIO, device=DEVICE), is_convex=True)
    numbers = torch.arange(twins, device=DEVICE)
    draw = Draw(torch.ones(twins, device=DEVICE), torch.zeros(twins, device=DEVICE), seed=numbers)

    def drawn() -> None:
        leave_only(draw_tokens(warm(mixture.of_logits(logits), draw), draw, steps=numbers), logits, rows)

    return {"greedy": lambda: mixture.write(logits, rows), "drawn": drawn}


def device_name() -> str:
    return torch.cuda.get_device_name() if DEVICE.type == "cuda" else f"cpu, {torch.get_num_threads()} threads"


def keep() -> None:
    """Measure, and write the result."""
    print(f"written to {write_result('paired_decoding_kernel', kernel(), f'paired_decoding_kernel_{DEVICE.type}')}")


if __name__ == "__main__":
    keep()
