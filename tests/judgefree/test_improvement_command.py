"""`improve` before it begins: what is asked is checked at once, and a run is found again."""

import asyncio
from pathlib import Path

import pytest

from judgefree.cli import run
from pairs.runs import ImprovementRun, Phase, Runs, RunStatus
from pairs.settings import load_settings
from tests.judgefree.evaluations import a_round, a_run


@pytest.fixture(autouse=True)
def _at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("JUDGEFREE_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("JUDGEFREE_MODEL", "demo")


def _save(*given: ImprovementRun) -> None:
    async def save() -> None:
        load_settings().data_dir.mkdir(parents=True, exist_ok=True)
        runs = await Runs.open(load_settings().store_url)
        for one in given:
            await runs.save(one)
        await runs.close()

    asyncio.run(save())


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--ratio-mean", "9"], "--ratio-mean: Input should be less than or equal to 2."),
        (["--least-decided", "1"], "--least-decided: Input should be less than 1."),
        (["--least-decided", "0.5", "--method", "drop"], "--least-decided: Value error, method drop has no ratio"),
        (["--images", "nowhere"], "There is no file or folder"),
        (["--promote-on", "nowhere"], "There is no data set nowhere"),
        (["--test", "demo"], "There is no data set demo:"),
        (["picture.png"], "picture.png is no flag; images are named by --images"),
        (["--name", "a/b"], "a/b cannot be a run's name"),
        (["--rounds", "100"], "--rounds"),
        (["--resume", "--seed", "0", "--count", "3"], "leave out --seed, --count, or begin another"),
        (["--resume", "--", "--steps", "3"], "leave out the flags after --"),
        (["--resume"], "There is no run to go on with."),
        (["--resume", "--name", "first"], "There is no run first."),
    ],
)
def test_a_mistake_is_one_sentence_before_anything_is_made(
    flags: list[str], said: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert run(["improve", *flags]) == 2
    told = capsys.readouterr()
    assert said in told.err
    assert told.err.count("\n") == 1
    assert not (tmp_path / "data" / "improve").exists()


def test_a_name_is_taken_once(capsys: pytest.CaptureFixture[str]) -> None:
    _save(a_run(model="demo"))
    assert run(["improve", "--name", "first"]) == 2
    assert "There is a run first already; go on with it by --resume" in capsys.readouterr().err


def test_a_run_of_another_model_is_not_gone_on_with(capsys: pytest.CaptureFixture[str]) -> None:
    _save(a_run(model="another"))
    assert run(["improve", "--resume"]) == 2
    assert "Run first is of model another, and the settings say demo." in capsys.readouterr().err


@pytest.mark.parametrize("status", [RunStatus.DONE, RunStatus.STOPPED])
def test_a_run_that_has_ended_says_so_and_shows_what_came_of_it(
    status: RunStatus, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    judged = a_round(1, None, ours=0.1, theirs=0.2).model_copy(update={"phase": Phase.DONE})
    _save(a_run(judged, model="demo", status=status, reason="round 1: kl rose" if status == "stopped" else None))
    assert run(["improve", "--resume"]) == 0
    told = capsys.readouterr()
    assert "Run first has ended already: there is nothing to go on with." in told.err
    assert "0.200 -> 0.100" in told.out
    assert "\n1 round, 1 promoted. The report is " in told.out
    assert ("Stopped by the collapse watch: round 1: kl rose." in told.out) == (status is RunStatus.STOPPED)
    assert "Improvement run first" in (tmp_path / "data" / "improve" / "first" / "report.html").read_text()
