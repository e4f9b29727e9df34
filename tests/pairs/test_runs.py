"""Improvement runs in the store, the same on SQLite and on PostgreSQL."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from pairs.runs import ImprovementRun, Phase, Round, Runs, RunStatus

BEGAN = datetime(2026, 11, 24, 3, 5, tzinfo=UTC)
FIRST = ImprovementRun(name="first", model="tiny", asked={"rounds": 2}, created_at=BEGAN)


@pytest.fixture
async def runs(store_url: str) -> AsyncIterator[Runs]:
    opened = await Runs.open(store_url)
    yield opened
    await opened.close()


async def test_a_run_comes_back_as_it_was_saved(runs: Runs) -> None:
    judged = Round(
        number=1,
        parent=None,
        phase=Phase.DONE,
        decisions={"kept": 3},
        adapter="first-1",
        snapshot_sha256="0" * 64,
        evaluation={"models": ["first-1", "tiny"], "data": [{"name": "scenes", "figures": {"f1": 0.5}}]},
        watch={"kl": 0.1},
        is_promoted=False,
        reasons=("F1 is worse",),
        seconds={Phase.TRAINING: 1.5},
    )
    run = FIRST.model_copy(update={"rounds": (judged,), "status": RunStatus.STOPPED, "reason": "kl rose"})
    await runs.save(run)
    assert await runs.get("first") == run
    assert await runs.get("second") is None


async def test_the_last_word_counts(runs: Runs) -> None:
    await runs.save(FIRST)
    begun = FIRST.with_round(Round(number=1, parent=None))
    for run in (begun, begun, begun.with_round(Round(number=1, parent=None, phase=Phase.TRAINING))):
        await runs.save(run)
    [found] = await runs.all()
    assert [one.phase for one in found.rounds] == [Phase.TRAINING]


async def test_runs_are_listed_oldest_first_and_outlive_the_connection(runs: Runs, store_url: str) -> None:
    later = FIRST.model_copy(update={"name": "a-later-one", "created_at": BEGAN + timedelta(days=1)})
    for run in (later, FIRST):
        await runs.save(run)
    again = await Runs.open(store_url)
    try:
        assert await again.all() == [FIRST, later]
    finally:
        await again.close()


def test_a_round_takes_the_place_of_the_one_of_its_number() -> None:
    first, second = Round(number=1, parent=None), Round(number=2, parent="first-1")
    run = FIRST.with_round(second).with_round(first)
    assert run.rounds == (first, second)
    trained = second.model_copy(update={"phase": Phase.TRAINING})
    assert run.with_round(trained).rounds == (first, trained)
