"""What training costs: DPO with LoRA, as `judgefree train` does it, on a LLaVA of 0.75 B parameters.

    python -m benchmarks.dpo [--batch-sizes 4 8 16] [--steps 30] [--answer-tokens 128] [--workers 4]
    python -m benchmarks.dpo --tiny

The model has LLaVA-1.5's layout and its vision tower (CLIP ViT-L/14-336, 576 image tokens), with a language model of 28
layers. Only speed and memory count, so its weights are drawn; the pairs are demo scenes enlarged to 336 pixels, with
captions of other scenes for answers, each cut to `--answer-tokens`. `--tiny` takes the demo's own model and short
answers instead, for a machine without a GPU.

Every batch size is measured with and without gradient checkpointing, each in a process of its own so that its peak of
memory is its own; what does not fit is reported as `out_of_memory`. Tokens are those of the chosen and the rejected
sequences, the image's included. Rates are over all steps after the first few. `share_of_matrix_product` is the
operations of a step per second over the rate of one large matrix product in the same run; with checkpointing,
operations that are done twice count once in `tflop_per_step` and twice in `with_recomputation`. Beside the peak stands
what `tools.memory` predicts. Writes benchmarks/results/dpo.json, or dpo_tiny.json.
"""

import argparse
import hashlib
import io
import json
import multiprocessing
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from PIL import Image
from rich.console import Console

from benchmarks.dpo_model import LLAVA, Setting, arithmetic, numbers_of, predicted, write_model
from benchmarks.machine import write_result
from demo.captions import DEFAULT_PROMPT, caption, words_of
from demo.scenes import draw_scenes, pixels_of
from demo.worlds import IMAGE_SIDE
from pairs.settings import local_model
from pairs.store import PairFilter
from trainer.recipe import Recipe
from trainer.rows import Row
from trainer.run import Run
from trainer.snapshot import Snapshots

Answer = TypeVar("Answer")
IMAGES = 64
"""Distinct images; each is of many pairs."""


@dataclass(frozen=True)
class Plan:
    """What is measured: a model's folder, the pairs, and how long."""

    base: str
    image_side: int
    answer_tokens: int
    steps: int
    warm_up: int
    workers: int


@dataclass(frozen=True)
class Scenes:
    """A source of `count` pairs about demo scenes; the rejected answer is another scene's caption."""

    count: int
    image_side: int
    answer_tokens: int
    name = "demo scenes"
    carries_images = True

    def rows(self, wanted: PairFilter, *, with_images: bool) -> Iterator[Row]:
        scenes = draw_scenes("dense", 9000, range(IMAGES))
        pictures = [self._picture(pixels_of(scene)) for scene in scenes]
        rng = np.random.default_rng(0)
        said = [" ".join(caption(scene.objects, rng) for scene in (*scenes[at:], *scenes[:at])) for at in range(IMAGES)]
        answers = [" ".join(words_of(text)[: self.answer_tokens]) for text in said]
        for index in range(self.count):
            at = index % IMAGES
            yield Row(
                id=f"{index:08d}",
                image_sha256=hashlib.sha256(pictures[at]).hexdigest(),
                prompt=DEFAULT_PROMPT,
                chosen=answers[at],
                rejected=answers[(at + 1 + index // IMAGES) % IMAGES],
                margin=0.1,
                verdict="keep",
                method="blend",
                policy="random",
                image=pictures[at] if with_images else None,
            )

    def _picture(self, pixels: Any) -> bytes:
        written = io.BytesIO()
        Image.fromarray(pixels).resize((self.image_side, self.image_side)).save(written, "PNG", compress_level=1)
        return written.getvalue()


class _Clock(io.StringIO):
    """Where the trainer writes a line at each step; keeps when."""

    def __init__(self) -> None:
        super().__init__()
        self.at: list[float] = []

    def write(self, text: str) -> int:
        if text.startswith("step "):
            self.at.append(time.perf_counter())
        return super().write(text)


def measure(plan: Plan, setting: Setting) -> dict[str, Any]:
    """Speed and peak memory of one setting; for a process of its own."""
    from trainer.training import OutOfMemory, train

    recipe = _recipe(plan, setting)
    clock = _Clock()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        snapshots = Snapshots(str(folder / "snapshots"), str(folder / "images"))
        count = plan.steps * setting.batch_size
        snapshot = snapshots.take(Scenes(count, plan.image_side, plan.answer_tokens))
        run = Run("measured", plan.base, None, snapshot, recipe)
        try:
            adapter = train(run, snapshots, folder / "adapters", Console(file=clock))
        except OutOfMemory:
            return {**asdict(setting), "out_of_memory": True, "steps": len(clock.at)}
        logged = [json.loads(line) for line in (adapter / "metrics.jsonl").read_text().splitlines()]
    tokens = [int(line["num_tokens"]) for line in logged if "num_tokens" in line]
    first, last = plan.warm_up - 1, plan.steps - 1
    took = clock.at[last] - clock.at[first]
    steps = [later - sooner for sooner, later in zip(clock.at[first:last], clock.at[first + 1 :], strict=True)]
    sequence = round(tokens[last] / (2 * setting.batch_size * plan.steps))
    numbers = numbers_of(Path(plan.base))
    return {
        **asdict(setting),
        "median_step_s": round(statistics.median(steps), 4),
        "slowest_step_s": round(max(steps), 4),
        "pairs_per_s": round(setting.batch_size * len(steps) / took, 2),
        "tokens_per_s": round((tokens[last] - tokens[first]) / took),
        "tokens_a_sequence": sequence,
        **arithmetic(numbers, recipe.lora_rank, setting, sequence, plan.answer_tokens, took / len(steps)),
        "peak_gb": {name: round(size / 1e9, 3) for name, size in _peak().items()},
        "predicted_gb": predicted(numbers, recipe.lora_rank, setting, sequence),
        "loss": [round(float(logged[at]["loss"]), 4) for at in (0, last)],
    }


def _recipe(plan: Plan, setting: Setting) -> Recipe:
    checkpointing = "--gradient-checkpointing" if setting.gradient_checkpointing else "--no-gradient-checkpointing"
    numbers = {
        "steps": plan.steps,
        "batch-size": setting.batch_size,
        "workers": plan.workers,
        "log-every": 1,
        "least": 1,
    }
    return Recipe.read(
        [checkpointing, *(word for name, value in numbers.items() for word in (f"--{name}", str(value)))]
    )


def _peak() -> dict[str, int]:
    """Bytes on the GPU, or without one the process's memory."""
    if torch.cuda.is_available():
        return {"allocated": torch.cuda.max_memory_allocated(), "reserved": torch.cuda.max_memory_reserved()}
    return {"resident": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}


def matrix_product(side: int, times: int = 20) -> dict[str, Any]:
    """Rate of a product of two [side, side] matrices of random numbers: bf16 on a GPU, float32 without one."""
    device, dtype = ("cuda", torch.bfloat16) if torch.cuda.is_available() else ("cpu", torch.float32)
    one, other = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    for _ in range(3):
        one @ other
    _finish()
    began = time.perf_counter()
    for _ in range(times):
        one @ other
    _finish()
    rate = times * 2 * side**3 / (time.perf_counter() - began) / 1e12
    return {"side": side, "dtype": str(dtype).removeprefix("torch."), "tflop_per_s": round(rate, 4)}


def _finish() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def alone(work: Callable[[], Answer]) -> Answer:
    """What `work` gives in a process of its own, forked from one that has imported the trainer."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["trainer.training"])
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(_in_child, work).result()


def _in_child(work: Callable[[], Answer]) -> Answer:
    # A forkserver's child would start the data loader's processes from one too.
    multiprocessing.set_start_method(None, force=True)
    return work()


def results(plan: Plan, batch_sizes: list[int], side: int) -> dict[str, Any]:
    product = alone(partial(matrix_product, side))
    print(product, flush=True)
    found = []
    for setting in (Setting(size, checkpointing) for size in batch_sizes for checkpointing in (True, False)):
        one = alone(partial(measure, plan, setting))
        if not one.get("out_of_memory"):
            one["share_of_matrix_product"] = round(one["tflop_per_s"] / product["tflop_per_s"], 3)
            share = one["tflop_per_s_with_recomputation"] / product["tflop_per_s"]
            one["share_with_recomputation"] = round(share, 3)
        print(json.dumps(one), flush=True)
        found.append(one)
    numbers = numbers_of(Path(plan.base))
    return {
        "model": {"parameters": numbers.parameters, "decoder": asdict(numbers.decoder), "sight": asdict(numbers.sight)},
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        "plan": {name: value for name, value in asdict(plan).items() if name != "base"},
        "lora_rank": _recipe(plan, Setting(1, gradient_checkpointing=False)).lora_rank,
        "matrix_product": product,
        "settings": found,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[4, 8, 16], help="pairs in a batch")
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--warm-up", type=int, default=5, help="steps that are not timed")
    parser.add_argument("--answer-tokens", type=int, default=128)
    parser.add_argument("--workers", type=int, default=4, help="processes that prepare batches")
    parser.add_argument("--tiny", action="store_true", help="the demo's model")
    flags = parser.parse_args()
    if flags.tiny:
        plan = Plan(local_model("demo", "mllm"), IMAGE_SIDE, 32, flags.steps, flags.warm_up, workers=0)
        result, file = results(plan, flags.batch_sizes, side=1024), "dpo_tiny"
    else:
        with tempfile.TemporaryDirectory() as name:
            alone(partial(write_model, Path(name)))
            plan = Plan(name, LLAVA.sight.image_size, flags.answer_tokens, flags.steps, flags.warm_up, flags.workers)
            result, file = results(plan, flags.batch_sizes, side=8192), "dpo"
    print(f"written to {write_result('dpo', result, file)}")


if __name__ == "__main__":
    main()
