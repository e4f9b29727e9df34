"""`judgefree loadtest`: the program's exit code and its one sentence are the command's."""

from pathlib import Path

import pytest

from judgefree.cli import run
from tests.conftest import free_port
from tests.processes import ROOT


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([], "No gateway that is ready is at http://127.0.0.1:"),
        (["--profile", "nonsense"], "has no profile nonsense; it has mixed, knee"),
        (["--images", "nowhere"], "There is no folder nowhere."),
    ],
)
def test_a_mistake_is_one_sentence_and_exit_code_2(
    words: list[str], sentence: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(["loadtest", "--host", f"http://127.0.0.1:{free_port()}", *words]) == 2
    said = capfd.readouterr().err
    assert sentence in said
    assert len(said.splitlines()) == 1


def test_its_help_names_the_flags_that_it_hands_on(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["loadtest", "--help"]) == 0
    assert "--expect-workers" in capsys.readouterr().out
