"""The report of a run: one self-contained HTML file, written again after every round."""

import json
import mimetypes
from base64 import b64encode
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from judgefree.improvement import watch
from judgefree.improvement.asked import Asked
from judgefree.improvement.chart import Point, Series, chart, mark
from judgefree.improvement.figures import Change, change_of
from pairs.runs import ImprovementRun, Phase, Round

FILE = "report.html"
EXAMPLES = 12
FIGURES = (
    ("chair_i", "CHAIR_i", "hallucinated mentions, lower is better"),
    ("chair_s", "CHAIR_s", "captions that hallucinate, lower is better"),
    ("f1", "F1", "of mentioned objects, higher is better"),
    ("precision", "precision", "higher is better"),
    ("recall", "recall", "higher is better"),
    ("mean_words", "mean words", "of an answer"),
)


def write_report(folder: Path, run: ImprovementRun, adapters: Path) -> Path:
    """Write the report of a run whose answers are in `folder` and whose adapters are in `adapters`; returns the file.

    Whoever has it open sees the old one or the new one, never a part.
    """
    file, partial = folder / FILE, folder / f".{FILE}"
    partial.write_text(report(folder, run, adapters), encoding="utf-8")
    partial.replace(file)
    return file


def report(folder: Path, run: ImprovementRun, adapters: Path) -> str:
    """The report as HTML."""
    environment = Environment(
        loader=PackageLoader("judgefree"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    asked = Asked.model_validate(run.asked)
    judged = [one for one in run.rounds if one.phase is Phase.DONE]
    return environment.get_template("improvement.html.j2").render(
        run=run,
        asked=asked,
        judged=judged,
        served=served(run),
        changes=_changes(judged),
        groups=_groups(judged),
        bounds=watch.bounds(judged[0].watch_before) if judged else {},
        examples=examples_of(folder, judged),
        shown=_last_shown(judged),
        most_examples=EXAMPLES,
        phases=[phase for phase in Phase if phase is not Phase.DONE],
        training=_training(adapters, judged),
    )


def served(run: ImprovementRun) -> str | None:
    """The adapter that was promoted last; None where none was."""
    return next((one.adapter for one in reversed(run.rounds) if one.is_promoted), None)


# What changed, and the curves


def _changes(judged: Sequence[Round]) -> list[tuple[str, str, Change]]:
    """Of each data set, what the first model's figures were and what the last served one's are."""
    last = next((one for one in reversed(judged) if one.is_promoted), None)
    if last is None:
        return []
    found = []
    for title, of in (("gate", "evaluation"), ("test", "test")):
        first, then = getattr(judged[0], of), getattr(last, of)
        if first is None or then is None:
            continue
        for before, after in zip(first["data"], then["data"], strict=True):
            figures = {"new": after["figures"][then["models"][0]], "old": before["figures"][first["models"][1]]}
            found.append((title, before["name"], change_of(figures["new"], figures["old"])))
    return found


@dataclass(frozen=True)
class Group:
    """Charts of some data sets: every figure of all of them, and which mark is whose."""

    title: str
    charts: tuple[Markup, ...]
    legend: tuple[tuple[Markup, str], ...]


def _groups(judged: Sequence[Round]) -> list[Group]:
    wanted = (("Promotion sets: what the gate decides by", "evaluation"), ("Test sets: reported only", "test"))
    return [_group(title, of, judged) for title, of in wanted if judged and getattr(judged[0], of) is not None]


def _group(title: str, of: str, judged: Sequence[Round]) -> Group:
    names = [data["name"] for data in getattr(judged[0], of)["data"]]
    charts = []
    for figure, label, note in FIGURES:
        series = [Series(name, place, points_of(judged, of, place, figure)) for place, name in enumerate(names)]
        drawn = [one for one in series if one.points]
        if drawn:
            charts.append(chart(label, note, drawn, judged[-1].number))
    return Group(title, tuple(charts), tuple((mark(place), name) for place, name in enumerate(names)))


def points_of(judged: Sequence[Round], of: str, place: int, figure: str) -> tuple[Point, ...]:
    """A figure on the data set at `place` of the evaluations called `of`: the first parent's, then each adapter's.

    Empty for a data set that has no such figure, as yes/no questions have no CHAIR.
    """
    points: list[Point] = []
    for one in judged:
        found = getattr(one, of)
        if found is None:
            continue
        new, parent = (found["data"][place]["figures"][model]["estimates"].get(figure) for model in found["models"])
        if parent is not None and not points:
            points.append(Point(one.number - 1, **parent))
        if new is not None:
            points.append(Point(one.number, **new, is_served=bool(one.is_promoted)))
    return tuple(points)


# Captions before and after


@dataclass(frozen=True)
class Piece:
    """A part of a caption; `kind` is "there" or "hallucinated" for the mention of an object, else empty."""

    text: str
    kind: str = ""


@dataclass(frozen=True)
class Caption:
    """An answer in pieces, and the objects of the image that it leaves out."""

    pieces: tuple[Piece, ...]
    missed: tuple[str, ...]


@dataclass(frozen=True)
class Example:
    """An image as a data URI (None where its file is gone), captioned by the first model and by the last one."""

    name: str
    data: str
    image: str | None
    before: Caption
    after: Caption


def examples_of(folder: Path, judged: Sequence[Round]) -> list[Example]:
    """Images whose captions differ, evenly spaced among all of them: none is picked for what it shows."""
    last = _last_shown(judged)
    if last is None or judged[0].evaluation is None or last.evaluation is None:
        return []
    files = [folder / f"round-{number}" / "answers.jsonl" for number in (1, last.number)]
    if not all(file.is_file() for file in files):  # an old run's answers may have been cleared away
        return []
    before = _answers(files[0], judged[0].evaluation["models"][1])
    after = _answers(files[1], last.evaluation["models"][0])
    changed = [(old, new) for old, new in zip(before, after, strict=True) if old["text"] != new["text"]]
    spaced = [changed[index * len(changed) // EXAMPLES] for index in range(EXAMPLES)] if changed else []
    shown = spaced if len(changed) > EXAMPLES else changed
    return [
        Example(
            Path(old["image"]).name,
            old.get("data", ""),
            _data_uri(Path(old["image"])),
            caption_of(old),
            caption_of(new),
        )
        for old, new in shown
    ]


def caption_of(answer: dict[str, Any]) -> Caption:
    """An answer of `judgefree evaluate --answers` with its mentions marked."""
    text, present, mentions = answer["text"], answer.get("objects", []), answer.get("mentions", [])
    named = {mention["object"] for mention in mentions}
    return Caption(tuple(_pieces(text, mentions, present)), tuple(one for one in present if one not in named))


def _pieces(text: str, mentions: Sequence[dict[str, Any]], present: Sequence[str]) -> Iterator[Piece]:
    end = 0
    for mention in mentions:
        yield Piece(text[end : mention["start"]])
        is_there = mention["object"] in present
        yield Piece(text[mention["start"] : mention["end"]], "there" if is_there else "hallucinated")
        end = mention["end"]
    yield Piece(text[end:])


def _last_shown(judged: Sequence[Round]) -> Round | None:
    """The round whose captions are shown: the last that was promoted, or the last."""
    return next((one for one in reversed(judged) if one.is_promoted), judged[-1] if judged else None)


def _answers(file: Path, model: str) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    return [row for row in rows if row["model"] == model]


def _data_uri(image: Path) -> str | None:
    if not image.is_file():
        return None
    kind = mimetypes.guess_type(image.name)[0] or "image/png"
    return f"data:{kind};base64,{b64encode(image.read_bytes()).decode()}"


def _training(adapters: Path, judged: Sequence[Round]) -> dict[str, Any]:
    """The settings in force of the last training, as its adapter's folder has them."""
    last = judged[-1].adapter if judged else None
    facts = adapters / str(last) / "training.json"
    if last is None or not facts.is_file():
        return {}
    found: dict[str, Any] = json.loads(facts.read_text(encoding="utf-8"))["run"]
    return found
