"""Work in the background that ends early does not do so in silence."""

import asyncio

import pytest
import structlog

from pairs.background import Background


class Faulty(Background):
    async def _run(self) -> None:
        raise LookupError("a fault of its own")


class Endless(Background):
    async def _run(self) -> None:
        await asyncio.Event().wait()


async def test_an_error_in_the_background_is_logged_at_once_and_raised_at_the_end() -> None:
    with structlog.testing.capture_logs() as log:
        faulty = await Faulty().__aenter__()
        await asyncio.sleep(0.01)
        [said] = log
    assert (said["log_level"], said["work"]) == ("error", "Faulty")
    assert isinstance(said["exc_info"], LookupError)
    with pytest.raises(LookupError):
        await faulty.__aexit__(None, None, None)


async def test_work_that_ends_with_its_block_is_no_error() -> None:
    with structlog.testing.capture_logs() as log:
        async with Endless():
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.01)
    assert log == []
