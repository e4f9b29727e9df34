"""`evaluate`: how good a served model's answers are on images with known objects, and whether they beat another's."""

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from pairs.model import RawAnswer
from pairs.places import only_replica
from pairs.settings import Settings, load_settings
from trainer.arrange import Arrangement, arrange, read_finished
from trainer.evaluation.asking import CONCURRENCY, Decoding, Question, Server, ask_all, served_name
from trainer.evaluation.errors import NotComparable, UnwritableFile
from trainer.evaluation.finished import FinishedPair, read_pairs, stored_pairs
from trainer.evaluation.following import Bar
from trainer.evaluation.opening import open_dataset, open_task
from trainer.evaluation.shares import CONFIDENCE, RESAMPLES
from trainer.evaluation.table import result_table, verification_tables
from trainer.evaluation.task import Result, Task
from trainer.evaluation.task import evaluate as evaluate_task
from trainer.evaluation.truth import judge
from trainer.evaluation.verification import verification

_STORE = "store"
_WIDTH = 120
"""Of tables that go to a file or a pipe, in columns."""
_DATA = (
    "demo:SPLIT[:COUNT[:SEED]], a COCO folder, a .jsonl list of images and objects, or a file of yes/no questions "
    "in POPE's format"
)


def evaluate(arguments: Sequence[str]) -> None:
    """Ask the served model about every image, or hold finished pairs against the truth; show figures with their 95 %
    intervals."""
    asked = parser().parse_args(arguments)
    settings = load_settings(mllm_url=asked.mllm_url, prompt=asked.prompt, max_tokens=asked.max_tokens)
    report = _of_model(asked, settings) if asked.pairs is None else _of_pairs(asked, settings)
    if asked.out is not None:
        report |= {"seed": asked.seed, "confidence": CONFIDENCE, "resamples": RESAMPLES}
        _write(asked.out, json.dumps(report, indent=2) + "\n")


def _of_model(asked: argparse.Namespace, settings: Settings) -> dict[str, Any]:
    tasks = [open_task(name, _cache(asked, settings), asked.images) for name in asked.data]
    if asked.limit is not None:
        tasks = [task.sample(asked.limit, asked.seed) for task in tasks]
    server = Server(only_replica(settings.mllm_urls), settings.mllm_timeout_s, asked.concurrency)
    models = _models(asked, server)
    results = _results(tasks, models, server, settings, asked)
    console = _console()
    for result in results:
        console.print(result_table(result))
    found = [asdict(result) for result in results]
    return {"models": models, "prompt": settings.prompt, "max_tokens": settings.max_tokens, "data": found}


def _of_pairs(asked: argparse.Namespace, settings: Settings) -> dict[str, Any]:
    console, found = _console(), []
    for name in asked.data:
        dataset = open_dataset(name, _cache(asked, settings), asked.images)
        judged = judge(_pairs(asked, settings), dataset)
        known = verification(judged.pairs, asked.seed)
        for table in verification_tables(name, known):
            console.print(table)
        found.append({"name": name, "strangers": judged.strangers} | asdict(known))
    return {"pairs": asked.pairs, "data": found}


def _pairs(asked: argparse.Namespace, settings: Settings) -> Iterator[FinishedPair]:
    """The pairs of the store or of a file, the latter under an arrangement if there is one."""
    if asked.pairs == _STORE:
        return stored_pairs(settings.store_url, settings.images_url)
    if asked.arrange is None:
        return read_pairs(Path(asked.pairs))
    named = arrange(read_finished(Path(asked.pairs)), asked.arrange)
    return (found for file, pair in named if (found := FinishedPair.of(pair, file)) is not None)


def _console() -> Console:
    console = Console()
    return console if console.is_terminal else Console(width=_WIDTH)


def _cache(asked: argparse.Namespace, settings: Settings) -> Path:
    return asked.cache or settings.data_dir / "scenes"


def _models(asked: argparse.Namespace, server: Server) -> list[str]:
    """The served names, the model that is evaluated first."""
    wanted = served_name(server, asked.adapter or asked.model)
    if asked.compare_with is None:
        return [wanted]
    if asked.compare_with == wanted:
        raise NotComparable(f"{wanted} is what is evaluated; --compare-with must name another.")
    return [wanted, served_name(server, asked.compare_with)]


def _results(
    tasks: list[Task], models: list[str], server: Server, settings: Settings, asked: argparse.Namespace
) -> list[Result]:
    total = len(models) * sum(len(task.questions(settings.prompt)) for task in tasks)
    decoding = Decoding(settings.max_tokens, seed=asked.seed)
    said: list[dict[str, Any]] = []
    with Bar(Console(stderr=True), total) as bar:

        def answer(task: Task, model: str, questions: Sequence[Question]) -> list[RawAnswer]:
            answers = ask_all(server, model, questions, decoding, bar.advance)
            for question, one, remark in zip(questions, answers, task.remarks(answers), strict=True):
                about = {"model": model, "data": task.name, "image": str(question.image), "prompt": question.prompt}
                said.append(about | {"text": one.text, "finish_reason": one.finish_reason} | remark)
            return answers

        results = [
            evaluate_task(bar.now_at(task), models, settings.prompt, partial(answer, task), asked.seed)
            for task in tasks
        ]
    if asked.answers is not None:
        _write(asked.answers, "".join(json.dumps(one, ensure_ascii=False) + "\n" for one in said))
    return results


def _write(file: Path, text: str) -> None:
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UnwritableFile(f"{file} cannot be written: {error.strerror}.") from error


def parser() -> argparse.ArgumentParser:
    """The flags of `judgefree evaluate`."""
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
    add("--seed", type=_natural, default=0, help="draws the intervals, and what --limit takes")
    add("--cache", type=Path, help="folder for rendered scenes; `scenes` in data_dir if not given")
    add("--pairs", metavar="FILE", help="hold the finished pairs of this .jsonl file, or of the `store`, against the "
        "truth instead; no model is asked")  # fmt: skip
    add("--arrange", type=Arrangement, choices=list(Arrangement), help="decide the pairs of that file by this rule "
        "first (docs/ablation.md)")  # fmt: skip
    add("--answers", type=Path, metavar="FILE", help="file to write every answer to, one JSON object a line")
    add("--out", type=Path, help="file to write the figures to, as JSON")
    return parser


def _positive(text: str) -> int:
    return _at_least(1, text)


def _natural(text: str) -> int:
    return _at_least(0, text)


def _at_least(least: int, text: str) -> int:
    if (number := int(text)) < least:
        raise argparse.ArgumentTypeError(f"must be at least {least}")
    return number
