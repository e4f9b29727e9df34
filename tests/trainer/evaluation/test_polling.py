"""Yes/no questions in POPE's format: read, answered, counted."""

import json
from pathlib import Path
from typing import Any

import pytest

from pairs.model import RawAnswer
from trainer.evaluation.errors import UnreadableDataSet
from trainer.evaluation.opening import open_task
from trainer.evaluation.polling import Poll, said
from trainer.evaluation.shares import estimate

ASK = "Is there a {} in the image?"
ROWS = [
    {"question_id": 1, "image": "COCO_1.jpg", "text": ASK.format("snowboard"), "label": "yes"},
    {"question_id": 2, "image": "COCO_1.jpg", "text": ASK.format("dining table"), "label": "no"},
    {"question_id": 3, "image": "COCO_2.jpg", "text": ASK.format("person"), "label": "yes"},
    {"question_id": 4, "image": "COCO_2.jpg", "text": ASK.format("car"), "label": "no"},
    {"question_id": 5, "image": "COCO_2.jpg", "text": ASK.format("bear"), "label": "no"},
]


def write(folder: Path, rows: list[Any]) -> str:
    file = folder / "coco_pope_random.json"  # POPE's own files are JSON lines under this ending
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(file)


def answers(*texts: str) -> list[RawAnswer]:
    return [RawAnswer(text=text, finish_reason="stop") for text in texts]


def test_a_file_in_popes_format_is_asked_as_it_stands(tmp_path: Path) -> None:
    poll = open_task(write(tmp_path, ROWS), tmp_path, images=Path("/pictures"))

    assert isinstance(poll, Poll)
    asked = poll.questions("Describe the image.")
    assert [question.prompt for question in asked] == [row["text"] for row in ROWS]
    assert asked[2].image == Path("/pictures/COCO_2.jpg")


def test_the_figures_are_popes(tmp_path: Path) -> None:
    poll = open_task(write(tmp_path, ROWS), tmp_path)

    counts = poll.counts(answers("Yes.", "Yes, there is.", "No", "No.", "yes"))
    figures = estimate(counts, poll.shares, seed=0)

    # yes rightly 1, yes wrongly 2, no rightly 1, no wrongly 1
    assert counts.ids == ("COCO_1.jpg", "COCO_2.jpg")
    assert counts.rows == ((2, 1, 1, 0, 0), (3, 0, 1, 1, 1))
    values = {name: figures[name].value for name in poll.shares}
    assert values == pytest.approx({"accuracy": 0.4, "precision": 1 / 3, "recall": 0.5, "f1": 0.4, "yes_ratio": 0.6})
    assert (figures["accuracy"].low, figures["accuracy"].high) == pytest.approx((1 / 3, 0.5))


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("Yes", "yes"),
        ("No, there is no car.", "no"),
        ("There is not.", "no"),
        ("NO", "no"),
        ("Yes. There is no dog, though.", "yes"),
        ("Nothing but snow", "yes"),
        ("", "yes"),
    ],
)
def test_an_answer_is_read_as_pope_reads_it(text: str, meaning: str) -> None:
    assert said(text) == meaning


def test_a_sample_keeps_all_questions_about_an_image(tmp_path: Path) -> None:
    poll = open_task(write(tmp_path, ROWS), tmp_path)

    drawn = poll.sample(1, seed=3)

    assert len(drawn.questions("")) in (2, 3)
    assert len({question.image for question in drawn.questions("")}) == 1


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        ({**ROWS[0], "label": "maybe"}, "\"label\" is 'maybe'"),
        ({**ROWS[0], "text": None}, '"text" must be a text'),
    ],
)
def test_a_bad_row_is_said_in_one_sentence(tmp_path: Path, row: dict[str, Any], complaint: str) -> None:
    with pytest.raises(UnreadableDataSet, match=complaint):
        open_task(write(tmp_path, [row]), tmp_path)
