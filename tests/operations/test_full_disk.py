"""Valkey's file cannot grow: it ends rather than lose a write, and has everything that was accepted when it can."""

import asyncio
import resource

import pytest

from pairs.errors import QueueUnavailable
from pairs.model import PairId
from pairs.queue import Queue
from tests.examples import a_job
from tests.operations.conftest import Deploy

ROOM = 64 * 2**10


async def test_what_was_accepted_before_the_disk_was_full_is_there_when_it_has_room_again(deploy: Deploy) -> None:
    deployment = deploy()
    accepted: list[PairId] = []
    queue = await Queue.connect(deployment.settings)
    try:
        resource.prlimit(deployment.server.pid, resource.RLIMIT_FSIZE, (ROOM, ROOM))
        with pytest.raises(QueueUnavailable):
            await _admit_for_ever(queue, accepted)
        assert await asyncio.to_thread(deployment.server.wait, 10) != 0
        deployment.start_valkey()
        assert accepted
        assert set(accepted) <= set(await queue.in_flight(accepted))
        assert (await queue.depth()).jobs - len(accepted) in (0, 1)  # the one that was not answered may be there
    finally:
        await queue.close()


async def _admit_for_ever(queue: Queue, accepted: list[PairId]) -> None:
    while True:
        accepted += await queue.admit([a_job()])
