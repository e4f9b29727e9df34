"""Where a demo puts its results: what it did not make itself, it leaves alone."""

from pathlib import Path

import pytest

from judgefree.demonstration import Places
from judgefree.mistakes import Mistake


@pytest.mark.parametrize("name", ["scenes/one.png", "stack/pairs.db", "pairs.jsonl", "summary.json"])
def test_what_no_demo_has_made_is_refused_and_left_as_it_is(tmp_path: Path, name: str) -> None:
    mine = tmp_path / name
    mine.parent.mkdir(exist_ok=True)
    mine.write_text("mine")
    with pytest.raises(Mistake, match="no demo has made it"):
        Places(tmp_path).clear()
    assert mine.read_text() == "mine"


def test_an_earlier_demo_is_taken_away_and_nothing_else(tmp_path: Path) -> None:
    places = Places(tmp_path)
    places.clear()
    places.scenes.mkdir()
    places.summary.write_text("{}")
    (tmp_path / "notes.txt").write_text("mine")
    places.clear()
    assert not places.scenes.exists()
    assert not places.summary.exists()
    assert (tmp_path / "notes.txt").read_text() == "mine"
