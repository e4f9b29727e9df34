"""Which pair goes to which replica, and when: every pair's requests go to one, and no replica gets too many pairs."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from pairs.errors import AdapterNotLoaded, GenerationFailed, ModelUnavailable
from service.choice import Form, Load, choose
from service.replica import Replica
from service.watch import ModelWatch


class Turns:
    """At most `most` pairs at a time at each replica; pairs that find all of them full wait in order."""

    def __init__(self, watch: ModelWatch, most: int) -> None:
        self._watch, self._most = watch, most
        self._waiting: deque[asyncio.Future[Replica]] = deque()
        self._last = ""
        watch.listen(self._hand_out)

    @property
    def room(self) -> int:
        """How many pairs may be in generation at a time, at all replicas that are there."""
        return self._most * len(self._watch.ready)

    @asynccontextmanager
    async def taken(self) -> AsyncIterator[Replica]:
        """A replica for one pair.

        Raises ModelUnavailable when there is none, and in place of the pair's own error when the replica fell under it.
        """
        replica = await self._next()
        form = replica.form
        try:
            yield replica
        except ModelUnavailable as error:
            self._failed(replica, form)
            replica.lost(error)
            raise
        except GenerationFailed as error:
            if error.is_permanent or isinstance(error, AdapterNotLoaded):  # no fault of the replica's
                raise
            self._failed(replica, form)
            if not await replica.look():  # it fell and took the request with it
                raise ModelUnavailable("The model fell while it answered; try again shortly.") from error
            raise
        else:
            replica.form = Form()
        finally:
            self._left(replica)

    def _failed(self, replica: Replica, before: Form) -> None:
        loop = asyncio.get_running_loop()
        replica.form = replica.form.after_failure(before, loop.time())
        loop.call_at(replica.form.rests_until_s, self._hand_out)

    async def _next(self) -> Replica:
        turn: asyncio.Future[Replica] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        self._hand_out()
        try:
            return await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                self._left(turn.result())  # given one in the very moment of giving up
            raise

    def _left(self, replica: Replica) -> None:
        replica.in_work -= 1
        self._hand_out()

    def _hand_out(self) -> None:
        """Give replicas to those who wait, in order; where none is there at all, tell them so."""
        while self._waiting:
            if self._waiting[0].done():  # it was cancelled
                self._waiting.popleft()
            elif not self._watch.is_there:
                self._waiting.popleft().set_exception(self._watch.absence())
            elif (replica := self._choose()) is not None:
                replica.in_work += 1
                self._waiting.popleft().set_result(replica)
            else:
                return

    def _choose(self) -> Replica | None:
        ready = {replica.name: replica for replica in self._watch.ready}
        now_s = asyncio.get_running_loop().time()
        name = choose((_load(one, now_s) for one in ready.values()), self._most, self._last)
        if name is None:
            return None
        self._last = name
        return ready[name]


def _load(replica: Replica, now_s: float) -> Load:
    return Load(replica.name, True, replica.in_work, replica.form.failures, now_s < replica.form.rests_until_s)
