"""`evaluate`: how good a served model's answers are on images with known objects, and whether they beat another's."""

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console

from pairs.model import RawAnswer
from pairs.settings import Settings, load_settings
from trainer.evaluation.asking import CONCURRENCY, Decoding, Question, Server, ask_all, served_name
from trainer.evaluation.errors import UnreadableDataSet
from trainer.evaluation.following import Bar
from trainer.evaluation.opening import open_task
from trainer.evaluation.shares import CONFIDENCE, RESAMPLES
from trainer.evaluation.table import result_table
from trainer.evaluation.task import Result, Task
from trainer.evaluation.task import evaluate as evaluate_task

_DATA = (
    "demo:SPLIT[:COUNT[:SEED]], a COCO folder, a .jsonl list of images and objects, or a file of yes/no questions "
    "in POPE's format"
)


def evaluate(arguments: Sequence[str]) -> None:
    """Ask the served model about every image, and show its figures with their 95 % intervals."""
    asked = _parser().parse_args(arguments)
    settings = load_settings(mllm_url=asked.mllm_url, prompt=asked.prompt, max_tokens=asked.max_tokens)
    tasks = [open_task(name, asked.cache or settings.data_dir / "scenes", asked.images) for name in asked.data]
    if asked.limit is not None:
        tasks = [task.sample(asked.limit, asked.seed) for task in tasks]
    server = Server(settings.mllm_url, settings.mllm_timeout_s, asked.concurrency)
    models = _models(asked, server)
    results = _results(tasks, models, server, settings, asked.seed)
    console = Console()
    for result in results:
        console.print(result_table(result))
    if asked.out is not None:
        _write(asked.out, _report(results, models, settings, asked.seed))


def _models(asked: argparse.Namespace, server: Server) -> list[str]:
    """The served names, the model that is evaluated first."""
    wanted = served_name(server, asked.adapter or asked.model)
    other = None if asked.compare_with is None else served_name(server, asked.compare_with)
    return [wanted] if other in (None, wanted) else [wanted, str(other)]


def _results(tasks: list[Task], models: list[str], server: Server, settings: Settings, seed: int) -> list[Result]:
    total = len(models) * sum(len(task.questions(settings.prompt)) for task in tasks)
    decoding = Decoding(settings.max_tokens, seed=seed)
    with Bar(Console(stderr=True), total) as bar:

        def answer(model: str, questions: Sequence[Question]) -> list[RawAnswer]:
            return ask_all(server, model, questions, decoding, bar.advance)

        return [evaluate_task(bar.now_at(task), models, settings.prompt, answer, seed) for task in tasks]


def _report(results: list[Result], models: list[str], settings: Settings, seed: int) -> dict[str, Any]:
    return {
        "models": models,
        "prompt": settings.prompt,
        "max_tokens": settings.max_tokens,
        "seed": seed,
        "confidence": CONFIDENCE,
        "resamples": RESAMPLES,
        "data": [asdict(result) for result in results],
    }


def _write(file: Path, report: dict[str, Any]) -> None:
    try:
        file.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise UnreadableDataSet(f"{file} cannot be written: {error.strerror}.") from error


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="judgefree evaluate", description=evaluate.__doc__)
    add = parser.add_argument
    add("--data", action="append", required=True, metavar="DATASET", help=f"{_DATA}; may be repeated")
    add("--images", type=Path, help="folder of the images, where they are not beside the data")
    add("--limit", type=_positive, help="ask about at most so many images of each data set, drawn by the seed")
    add("--mllm-url", help="base URL of vLLM (setting mllm_url)")
    add("--model", help="served name of the model; the first base model if not given")
    add("--adapter", help="served name of an adapter, asked for instead of the model")
    add("--compare-with", metavar="NAME", help="served name of a model or adapter to compare with, on the same images")
    add("--prompt", help="what to ask about an image (setting prompt)")
    add("--max-tokens", type=_positive, help="length of an answer (setting max_tokens)")
    add("--concurrency", type=_positive, default=CONCURRENCY, help="questions in flight at a time")
    add("--seed", type=int, default=0, help="draws the intervals, and what --limit takes")
    add("--cache", type=Path, help="folder for rendered scenes; `scenes` in data_dir if not given")
    add("--out", type=Path, help="file to write the figures to, as JSON")
    return parser


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number
