"""Work in the background goes on whatever breaks it off, and never breaks off in silence."""

import asyncio

import pytest
import structlog

from pairs.background import Background


class Faulty(Background):
    """Breaks off as often as it is told to, then goes on."""

    def __init__(self, faults: int) -> None:
        self.faults = faults
        self.goes_on = asyncio.Event()

    async def _run(self) -> None:
        if self.faults:
            self.faults -= 1
            raise LookupError("a fault of its own")
        self.goes_on.set()
        await asyncio.Event().wait()


class Done(Background):
    runs = 0

    async def _run(self) -> None:
        self.runs += 1


@pytest.fixture(autouse=True)
def _short_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pairs.background._PAUSE_S", 0.01)


async def test_work_that_broke_off_is_logged_with_its_error_and_goes_on() -> None:
    with structlog.testing.capture_logs() as log:
        async with Faulty(faults=3) as faulty:
            await asyncio.wait_for(faulty.goes_on.wait(), 5)
    assert [(said["log_level"], said["work"], said["exc_info"]) for said in log] == [("error", "Faulty", True)] * 3


async def test_work_ends_with_its_block_however_often_it_breaks_off() -> None:
    async with Faulty(faults=1_000_000) as faulty:
        await asyncio.sleep(0.05)
    left = faulty.faults
    await asyncio.sleep(0.05)
    assert faulty.faults == left


async def test_work_that_ends_with_its_block_is_no_error() -> None:
    with structlog.testing.capture_logs() as log:
        async with Faulty(faults=0):
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.01)
    assert log == []


async def test_work_that_is_done_is_not_begun_anew() -> None:
    async with Done() as done:
        await asyncio.sleep(0.05)
    assert done.runs == 1
