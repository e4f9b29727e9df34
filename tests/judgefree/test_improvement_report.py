"""The report of a run: everything that happened, in one file that needs no network."""

import json
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from judgefree.improvement.chart import Point, Series, chart, ticks_of
from judgefree.improvement.report import EXAMPLES, caption_of, examples_of, points_of, report, write_report
from pairs.runs import ImprovementRun, Phase, RunStatus
from tests.judgefree.evaluations import a_data_set, a_round, a_run

TEXT = "A red ring is above a blue disc."
VALUES = st.floats(-1e6, 1e6, allow_subnormal=False)


def an_answer(model: str, image: str, text: str = TEXT, *objects: str) -> dict[str, Any]:
    """What `judgefree evaluate --answers` writes of a caption that names a red ring and a blue disc where it does."""
    places = [(name, text.find(name)) for name in ("red ring", "blue disc")]
    mentions = [{"object": name, "start": at, "end": at + len(name)} for name, at in places if at >= 0]
    said = {"model": model, "data": "scenes", "image": image, "prompt": "Describe the image.", "text": text}
    return said | {"objects": sorted(objects), "mentions": mentions}


def write_answers(folder: Path, number: int, *answers: dict[str, Any]) -> None:
    (folder / f"round-{number}").mkdir(parents=True, exist_ok=True)
    lines = "".join(json.dumps(one) + "\n" for one in answers)
    (folder / f"round-{number}" / "answers.jsonl").write_text(lines)


@pytest.fixture
def run(tmp_path: Path) -> ImprovementRun:
    """Three rounds, the second one not promoted; in the pictures there is a red ring, the model saw a disc too."""
    (tmp_path / "scene.png").write_bytes(b"\x89PNG any bytes")
    scene = str(tmp_path / "scene.png")
    rounds = (
        a_round(1, None, ours=0.1, theirs=0.2),
        a_round(2, "first-1", ours=0.11, theirs=0.1, is_promoted=False),
        a_round(3, "first-1", ours=0.05, theirs=0.1),
    )
    for one in rounds:
        told = [an_answer("tiny" if one.parent is None else one.parent, scene, TEXT, "red ring", "green cross")]
        told += [an_answer(str(one.adapter), scene, "There is a red ring.", "red ring", "green cross")]
        write_answers(tmp_path, one.number, *told)
    return a_run(*rounds, status=RunStatus.DONE)


def test_a_report_has_curves_rounds_watch_captions_times_and_settings(run: ImprovementRun, tmp_path: Path) -> None:
    (tmp_path / "first-3").mkdir()
    (tmp_path / "first-3" / "training.json").write_text(json.dumps({"run": {"learning_rate": 0.001, "parent": ""}}))
    html = report(tmp_path, run, tmp_path)
    for told in ("2 of 3 rounds promoted", "first-3", "not promoted", "F1 is worse on others", "learning rate", "1:01"):
        assert told in html
    for figure in ("CHAIR_i", "CHAIR_s", "F1", "precision", "recall", "mean words"):
        assert html.count(f'aria-label="{figure} by round"') == 2
    assert "at least 15" in html  # half of the words before the first round


def test_every_chart_is_whole_svg_with_a_point_for_each_data_set_and_round(run: ImprovementRun, tmp_path: Path) -> None:
    html = report(tmp_path, run, tmp_path)
    charts = re.findall(r'<svg viewBox="0 0 .*?</svg>', html, re.DOTALL)
    assert len(charts) == 12
    for one in charts:
        ElementTree.fromstring(one)
    assert len(re.findall(r"<title>scenes, round \d", charts[0])) == 4
    assert charts[0].count('class="tried"') == 2


def test_a_report_asks_nothing_of_the_network(run: ImprovementRun, tmp_path: Path) -> None:
    html = report(tmp_path, run, tmp_path)
    assert not re.search(r"(?i)https?:|//[a-z]|<script|@import|<link|url\(", html)
    assert "data:image/png;base64," in html


def test_captions_before_and_after_have_their_objects_marked(run: ImprovementRun, tmp_path: Path) -> None:
    html = report(tmp_path, run, tmp_path)
    assert '<span class="hallucinated">blue disc</span>' in html
    assert '<span class="there">red ring</span>' in html
    assert html.count("left out: green cross") == 2
    [example] = examples_of(tmp_path, run.rounds)
    assert "".join(piece.text for piece in example.before.pieces) == TEXT
    assert [piece.text for piece in example.after.pieces if piece.kind] == ["red ring"]


def test_examples_are_spread_over_all_images_whose_captions_differ(tmp_path: Path) -> None:
    many = range(3 * EXAMPLES)
    before = [an_answer("tiny", f"{index}.png") for index in many]
    after = [an_answer("first-1", f"{index}.png", "Nothing." if index % 2 else TEXT) for index in many]
    write_answers(tmp_path, 1, *before, *after)
    shown = [int(Path(one.name).stem) for one in examples_of(tmp_path, [a_round(1, None, 0.1, 0.2)])]
    assert len(shown) == len(set(shown)) == EXAMPLES
    assert all(number % 2 for number in shown)
    assert shown[-1] - shown[0] > 2 * EXAMPLES


def test_answers_of_questions_without_objects_are_shown_as_they_are() -> None:
    assert [piece.text for piece in caption_of({"text": "Yes."}).pieces] == ["Yes."]


def test_what_a_model_says_is_text_and_not_markup(tmp_path: Path) -> None:
    said = "<img src=x onerror=alert(1)>"
    write_answers(tmp_path, 1, an_answer("tiny", "x.png", said), an_answer("first-1", "x.png", f"{said} red ring"))
    html = report(tmp_path, a_run(a_round(1, None, 0.1, 0.2)), tmp_path)
    assert said not in html
    assert "&lt;img src=x" in html


def test_a_run_that_has_just_begun_has_a_report(tmp_path: Path) -> None:
    assert "goes on: 0 of 3 rounds" in report(tmp_path, a_run(), tmp_path)
    begun = a_round(1, None, 0.1, 0.2).model_copy(update={"phase": Phase.TRAINING})
    file = write_report(tmp_path, a_run(begun), tmp_path)
    assert file == tmp_path / "report.html"
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


def test_a_stopped_run_says_why(run: ImprovementRun, tmp_path: Path) -> None:
    stopped = run.model_copy(update={"status": RunStatus.STOPPED, "reason": "round 3: kl rose from 0 to 2"})
    html = report(tmp_path, stopped, tmp_path)
    assert "stopped by the collapse watch" in html
    assert "round 3: kl rose from 0 to 2" in html


def test_a_data_set_without_a_figure_has_no_curve_of_it() -> None:
    polled = a_data_set("poll", "first-1", "tiny", {"f1": 0.8}, {"f1": 0.7})
    one = a_round(1, None, 0.1, 0.2)
    evaluation = (one.evaluation or {}) | {"data": [polled]}
    judged = [one.model_copy(update={"evaluation": evaluation})]
    assert points_of(judged, "evaluation", 0, "chair_i") == ()
    assert [point.value for point in points_of(judged, "evaluation", 0, "f1")] == [0.7, 0.8]


@given(st.lists(VALUES, max_size=8))
def test_ticks_enclose_what_is_drawn_and_are_few(values: list[float]) -> None:
    ticks = ticks_of(values)
    apart = ticks[1] - ticks[0]
    assert 2 <= len(ticks) <= 8
    assert all(ticks[0] - 1e-6 * apart <= value <= ticks[-1] + 1e-6 * apart for value in values)


def test_a_name_in_a_chart_is_text() -> None:
    drawn = chart("<b>", "<i>", [Series('"><script>', 0, (Point(0, 0.5, 0.4, 0.6),))], 1)
    assert "<script>" not in drawn
    ElementTree.fromstring(drawn)
