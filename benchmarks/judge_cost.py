"""What verification costs by a contrastive encoder, and by the vision-language model itself as a judge.

    python -m benchmarks.judge_cost [--pairs 256] [--rounds 5]

The same pairs about demo scenes, verified in three ways, each in a process of its own so that its peak of memory is its
own: `clip` (what `workers.clip` does), `yes` (the log-probability of "yes" to a question about each sentence) and
`likelihood` (the mean log-probability of each answer). The ways take turns, the order changing from round to round;
loading, and a first batch, are not timed. The figures are medians over the rounds; the ratios are of processor times of
one round, all threads together, which others on the machine disturb least.
Writes benchmarks/results/judge_cost.json.

Accuracy is the share of pairs whose better answer, by the objects that really stand in the scene, has the higher score;
pairs with two answers equally good do not count. `surest_half` is that of the half with the greatest margins: what is
left when a threshold discards the others.
"""

import argparse
import asyncio
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Any

import psutil
import torch
from PIL import Image

from benchmarks.machine import write_result
from demo.metrics import object_score
from demo.scenes import draw_scenes, pixels_of
from pairs.blobs import Blobs
from pairs.clock import new_pair_id
from pairs.metrics import is_better
from pairs.model import Candidate, Hallucination, ImageRef, Job, Method, Policy, RawAnswer, Sampling
from pairs.settings import local_model

PROMPT = "Describe the image."
MAX_TOKENS = 128
BATCH = 32
WAYS = ("clip", "yes", "likelihood")
Score = Callable[[list[Candidate]], list[tuple[float, float]]]
"""(normal, injected) scores of each candidate."""


def prepare(folder: Path, count: int, ratio: float) -> None:
    """Make `count` pairs by the two-pass loop: candidates.jsonl, images, and which answer is the better one."""
    from workers.mllm.reference import TwoPass

    reference, blobs = TwoPass(local_model("demo", "mllm")), Blobs(str(folder))
    lines = []
    for scene in draw_scenes("theme_breaking", 8000, range(count)):
        image, png = Image.fromarray(pixels_of(scene)), BytesIO()
        image.save(png, "PNG")
        digest = asyncio.run(blobs.put(png.getvalue()))
        normal, injected = (reference.answer(PROMPT, image, one, MAX_TOKENS).text for one in (0.0, ratio))
        better = is_better(object_score(normal, scene.names), object_score(injected, scene.names))
        candidate = _candidate(digest, normal, injected, ratio)
        lines.append(json.dumps({"candidate": candidate.model_dump(mode="json"), "is_normal_better": better}))
    (folder / "candidates.jsonl").write_text("\n".join(lines))


def _candidate(digest: str, normal: str, injected: str, ratio: float) -> Candidate:
    moment = datetime.now(UTC)
    return Candidate(
        job=Job(
            id=new_pair_id(),
            image=ImageRef(sha256=digest, width=48, height=48, media_type="image/png"),
            prompt=PROMPT,
            hallucination=Hallucination(method=Method.BLEND, ratio=ratio),
            sampling=Sampling(max_tokens=MAX_TOKENS),
            seed=0,
            created_at=moment,
        ),
        normal=RawAnswer(text=normal, finish_reason="stop"),
        injected=RawAnswer(text=injected, finish_reason="stop"),
        policy=Policy(model="demo"),
        versions={},
        generation_started_at=moment,
        generated_at=moment,
    )


def by_clip(folder: Path) -> tuple[Score, dict[str, Any]]:
    """The verifier's own scorer. Every image is of one pair, so none is remembered."""
    from workers.clip.encoder import Encoder
    from workers.clip.images import Images
    from workers.clip.scorer import Scorer

    encoder = Encoder.load(local_model("demo", "clip"))
    scorer = Scorer(encoder, Images(Blobs(str(folder)), encoder, capacity=0), texts_remembered=0)

    def score(candidates: list[Candidate]) -> list[tuple[float, float]]:
        keys = [candidate.job.image.sha256 for candidate in candidates]
        loaded = {key: asyncio.run(scorer.load(key)) for key in keys}
        found = scorer.score(candidates, loaded)
        return [(one.normal.score or 0.0, one.injected.score or 0.0) for one in found]

    return score, {"parameters": _parameters(encoder._model)}


def by_judge(folder: Path, way: str) -> tuple[Score, dict[str, Any]]:
    from benchmarks.judging import YES, Judge
    from workers.clip.sentences import split

    judge, blobs = Judge.load(local_model("demo", "mllm")), Blobs(str(folder))

    def score(candidates: list[Candidate]) -> list[tuple[float, float]]:
        images = [Image.open(BytesIO(asyncio.run(blobs.get(one.job.image.sha256)))) for one in candidates]
        answers = [one.normal.text for one in candidates] + [one.injected.text for one in candidates]
        if way == "yes":
            values = judge.says_yes(images * 2, [split(answer) for answer in answers])
        else:
            values = judge.likelihoods(images * 2, PROMPT, answers)
        return list(zip(values[: len(candidates)], values[len(candidates) :], strict=True))

    return score, {"parameters": _parameters(judge.model), "knows_yes": judge.knows(YES)}


def _parameters(model: Any) -> int:
    return sum(one.numel() for one in model.parameters())


def measure(folder: Path, way: str) -> dict[str, Any]:
    """Seconds and memory (MiB) of one way over all pairs, and the scores that it gave."""
    rows = [json.loads(line) for line in (folder / "candidates.jsonl").read_text().splitlines()]
    candidates = [Candidate.model_validate(row["candidate"]) for row in rows]
    if way == "clip":
        score, about = by_clip(folder)
    else:
        score, about = by_judge(folder, way)
    score(candidates[:BATCH])
    loaded = psutil.Process().memory_info().rss
    began, worked = time.perf_counter(), time.process_time()
    margins = [one - other for batch in _batches(candidates) for one, other in score(batch)]
    took = {"seconds": time.perf_counter() - began, "cpu_seconds": time.process_time() - worked}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    memory = {"peak_mib": round(peak / 2**20), "after_a_batch_mib": round(loaded / 2**20)}
    return {**took, **memory, **about, **accuracy(margins, [row["is_normal_better"] for row in rows])}


def _batches(candidates: list[Candidate]) -> Iterator[list[Candidate]]:
    for start in range(0, len(candidates), BATCH):
        yield candidates[start : start + BATCH]


def accuracy(margins: list[float], is_normal_better: list[bool | None]) -> dict[str, float]:
    """Shares of decided pairs in which the margin's sign is right: of all, and of the half with the largest margins."""
    decided = [(margin, truth) for margin, truth in zip(margins, is_normal_better, strict=True) if truth is not None]
    decided.sort(key=lambda one: -abs(one[0]))
    right = [(margin > 0) == truth for margin, truth in decided]
    return {"accuracy": statistics.fmean(right), "surest_half": statistics.fmean(right[: len(right) // 2])}


def _child(*words: str) -> str:
    command = [sys.executable, "-m", "benchmarks.judge_cost", *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def one_round(folder: Path, turn: int) -> dict[str, dict[str, Any]]:
    order = WAYS[turn % len(WAYS) :] + WAYS[: turn % len(WAYS)]
    found = {way: json.loads(_child("--measure", way, "--folder", str(folder))) for way in order}
    print(turn + 1, {way: round(one["cpu_seconds"], 2) for way, one in found.items()}, flush=True)
    return found


def summary(rounds: list[dict[str, dict[str, Any]]], pairs: int) -> dict[str, Any]:
    """Of each way the medians, and how its time relates to the encoder's."""
    timed = ("seconds", "cpu_seconds", "peak_mib")
    ways = {}
    for way in WAYS:
        found = [one[way] for one in rounds]
        median = {name: statistics.median(one[name] for one in found) for name in timed}
        over_clip = [one[way]["cpu_seconds"] / one["clip"]["cpu_seconds"] for one in rounds]
        ways[way] = {
            **{name: value for name, value in found[0].items() if name not in timed},
            "ms_per_pair": round(1000 * median["seconds"] / pairs, 2),
            "cpu_ms_per_pair": round(1000 * median["cpu_seconds"] / pairs, 2),
            "peak_mib": median["peak_mib"],
            "over_clip": round(statistics.median(over_clip), 2),
            "over_clip_rounds": [round(one, 2) for one in over_clip],
        }
        if not found[0].get("knows_yes", True) and way == "yes":  # the answer is no word of this model: only the cost
            ways[way] |= {"accuracy": None, "surest_half": None}
    return ways


def on_real_models(tokens_a_sentence: int = 20, sentences: int = 5, prompt_tokens: int = 40) -> dict[str, Any]:
    """Operations to verify a pair of answers of `sentences`, by ViT-L-14-336 and by LLaVA-1.5-7B, computed.

    The judges read the image once, as here; a question of the `yes` judge is the prompt and a sentence.
    """
    from tools.architecture import CLIP_L_336, LLAVA_7B

    image = LLAVA_7B.flops(0, 0)
    answer, question = sentences * tokens_a_sentence, prompt_tokens + tokens_a_sentence
    after = {
        "yes": 2 * sentences * (LLAVA_7B.flops(question, 1) - image),
        "likelihood": 2 * (LLAVA_7B.flops(prompt_tokens + answer, answer) - image),
    }
    clip = CLIP_L_336.flops(2 * sentences)
    return {
        "assumed": {"tokens_a_sentence": tokens_a_sentence, "sentences": sentences, "prompt_tokens": prompt_tokens},
        "parameters": {"clip": CLIP_L_336.parameters, "judge": LLAVA_7B.parameters},
        "tflop_a_pair": {"clip": round(clip / 1e12, 2)}
        | {way: round((image + more) / 1e12, 2) for way, more in after.items()},
        "over_clip": {way: round((image + more) / clip, 1) for way, more in after.items()},
        "weights_over_clip": round(LLAVA_7B.parameters / CLIP_L_336.parameters, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--ratio", type=float, default=0.5, help="the hallucination ratio")
    parser.add_argument("--measure", choices=WAYS, help="one way, for a process of its own; prints JSON")
    parser.add_argument("--folder", type=Path, help="of the pairs, with --measure")
    flags = parser.parse_args()
    if flags.measure:
        print(json.dumps(measure(flags.folder, flags.measure)))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder, flags.pairs, flags.ratio)
        rounds = [one_round(folder, turn) for turn in range(flags.rounds)]
    result = {
        "pairs": flags.pairs,
        "batch": BATCH,
        "rounds": flags.rounds,
        "hallucination_ratio": flags.ratio,
        "threads": torch.get_num_threads(),
        "ways": summary(rounds, flags.pairs),
        "on_real_models": on_real_models(),
    }
    print(json.dumps(result, indent=2))
    print(f"written to {write_result('judge_cost', result)}")


if __name__ == "__main__":
    main()
