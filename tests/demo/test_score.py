"""`demo score` on hand-made scenes and pairs, run as other rooms run it."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SCENES = {
    "scene-00000.png": [("red", "ring"), ("blue", "disc")],
    "scene-00001.png": [("green", "cross")],
}
RIGHT, HALF, WRONG = "A red ring is at the top.", "A red ring. A yellow ring.", "A green diamond is at the top."


def _pair(file: str, decision: str, normal: str, injected: str) -> dict[str, Any]:
    answers = {"normal": {"text": normal}, "injected": {"text": injected}}
    chosen, rejected = (injected, normal) if decision == "swapped" else (normal, injected)
    if decision == "discarded":
        return {"file": file, "decision": decision, "answers": answers, "chosen": None, "rejected": None}
    return {"file": file, "decision": decision, "answers": answers, "chosen": chosen, "rejected": rejected}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rows = [
        {"file": file, "objects": [{"colour": colour, "shape": shape} for colour, shape in objects]}
        for file, objects in SCENES.items()
    ]
    (tmp_path / "scenes.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    return tmp_path


def _score(folder: Path, lines: list[str]) -> subprocess.CompletedProcess[str]:
    pairs = folder / "pairs.jsonl"
    pairs.write_text("\n".join(lines) + "\n")
    command = [sys.executable, "-m", "demo", "score", "--scenes", str(folder), "--pairs", str(pairs)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_pairs_are_counted_and_their_accuracy_taken_before_and_after_verification(folder: Path) -> None:
    pairs = [
        _pair("scene-00000.png", "kept", RIGHT, WRONG),  # normal better, chosen better
        _pair("scene-00000.png", "swapped", HALF, RIGHT),  # injected better, chosen better
        _pair("scene-00000.png", "kept", HALF, RIGHT),  # injected better, chosen worse
        _pair("scene-00001.png", "discarded", WRONG, RIGHT),  # both wrong: undecided
        _pair("scene-00001.png", "discarded", "A green cross.", WRONG),  # normal better
        _pair("scene-00000.png", "kept", RIGHT + " A blue disc is there.", RIGHT),  # equal precision, better F1
    ]
    done = _score(folder, [json.dumps(pair) for pair in pairs])

    assert done.returncode == 0, done.stderr
    scored = json.loads(done.stdout)
    assert (scored["pairs"], scored["kept"], scored["swapped"], scored["discarded"]) == (6, 3, 1, 2)
    assert scored["decided_pairs"] == {"before": 5, "after": 4}
    assert scored["pair_accuracy"] == {"before": pytest.approx(3 / 5), "after": pytest.approx(3 / 4)}
    assert scored["answers"]["normal"]["chair_i"] == pytest.approx(3 / 9)
    assert scored["answers"]["injected"]["chair_s"] == pytest.approx(3 / 6)
    assert scored["answers"]["chosen"]["captions"] == 4
    assert scored["answers"]["rejected"]["chair_i"] == pytest.approx(2 / 5)


def test_a_share_of_no_pairs_is_null(folder: Path) -> None:
    done = _score(folder, [json.dumps(_pair("scene-00000.png", "discarded", RIGHT, RIGHT))])

    assert json.loads(done.stdout)["pair_accuracy"] == {"before": None, "after": None}


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("{", "pairs.jsonl, line 1: not JSON"),
        ("[]", "a JSON object is wanted"),
        ('{"file": "scene-00000.png"}', "not a finished pair"),
        (json.dumps(_pair("scene-00000.png", "lost", RIGHT, WRONG)), "decision is 'lost'"),
        (json.dumps(_pair("scene-00000.png", "kept", RIGHT, WRONG) | {"chosen": None}), "must be text"),
        (json.dumps(_pair("scene-00009.png", "kept", RIGHT, WRONG)), "not among the scenes"),
    ],
)
def test_a_bad_line_is_named_in_one_sentence(folder: Path, line: str, complaint: str) -> None:
    done = _score(folder, [line])

    assert done.returncode == 2
    assert complaint in done.stderr
    assert "Traceback" not in done.stderr
