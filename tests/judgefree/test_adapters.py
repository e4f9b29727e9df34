"""`adapters` and `rollback`: what is served is shown, and what was served before is served again."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path

import pytest

from judgefree.cli import run
from pairs.adapters import Adapter, Adapters, Promotion
from pairs.settings import load_settings

MADE_AT = datetime(2026, 11, 24, 3, 5, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _registered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three adapters of the demo's model, each promoted after the one before, and one of another model."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("JUDGEFREE_DATA_DIR", str(tmp_path))

    async def register() -> None:
        registry = await Adapters.open(load_settings().store_url)
        for model, number in (("demo", 1), ("demo", 2), ("demo", 3), ("other", None)):
            name = f"{model}-r{number}" if number else f"{model}-adapter"
            await registry.register(
                Adapter(
                    name=name,
                    model=model,
                    path=f"/adapters/{name}",
                    snapshot_sha256="0" * 64,
                    round=number,
                    created_at=MADE_AT,
                )
            )
            if number:
                await registry.promote(model, name, "passed the gate")
        await registry.close()

    asyncio.run(register())


def _history() -> list[Promotion]:
    async def read() -> list[Promotion]:
        registry = await Adapters.open(load_settings().store_url)
        history = await registry.history("demo")
        await registry.close()
        return history

    return asyncio.run(read())


def test_the_adapters_are_listed_and_the_served_ones_marked(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["adapters"]) == 0
    assert [line.split() for line in capsys.readouterr().out.splitlines()] == [
        ["ADAPTER", "MODEL", "ROUND", "CREATED", "(UTC)"],
        ["base", "demo"],
        *(["demo-r" + number, "demo", number, "2026-11-24", "03:05"] for number in "12"),
        ["demo-r3", "demo", "3", "2026-11-24", "03:05", "served"],
        ["base", "other", "served"],
        ["other-adapter", "other", "2026-11-24", "03:05"],
    ]


def test_rollbacks_lead_back_one_by_one_to_the_model_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    for before, now in (("demo-r3", "demo-r2"), ("demo-r2", "demo-r1"), ("demo-r1", "base")):
        assert run(["rollback"]) == 0
        assert capsys.readouterr().out == f"demo is served with {now} from now on; before, it was {before}.\n"
    assert run(["rollback"]) == 2
    assert "nothing to go back to" in capsys.readouterr().err


def test_a_rollback_is_kept_with_who_wanted_it_and_why(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOGNAME", "ada")
    assert run(["rollback", "demo-r1", "--reason", "answers grew short"]) == 0
    assert run(["rollback", "demo-r1"]) == 0
    assert "demo is served with demo-r1 already." in capsys.readouterr().out
    last = _history()[-1]
    assert (len(_history()), last.adapter, last.reason) == (4, "demo-r1", "rollback by ada: answers grew short")
    assert run(["rollback", "base"]) == 0
    assert _history()[-1].adapter is None


def test_a_setting_that_is_over_the_promotion_is_said(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JUDGEFREE_ADAPTER", "pinned")
    assert run(["rollback"]) == 0
    assert "The setting adapter = pinned is over it" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["demo-r9", "other-adapter"])
def test_an_adapter_that_the_model_has_not_is_a_mistake(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["rollback", name]) == 2
    assert f"demo has no adapter {name}; there are demo-r1, demo-r2, demo-r3, base." in capsys.readouterr().err
    assert run(["rollback", "other-adapter", "--model", "other"]) == 0
