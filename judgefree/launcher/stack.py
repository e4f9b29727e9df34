"""The parts as running processes: started when what they need is ready, watched, restarted, ended in reverse order."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, TypeVar

from judgefree.launcher.logs import reason_in, telling
from judgefree.launcher.probes import Probe
from judgefree.launcher.processes import Child, announce, start_sweeper
from judgefree.launcher.supervision import Course, Event, Phase, Policy, delay_s, end_of, signal_name, step
from judgefree.mistakes import PartFailed
from pairs.ending import end

_PROBE_EVERY_S = 0.2
_LINES_READ = 60
_LINES_SHOWN = 3

Result = TypeVar("Result")


@dataclass(frozen=True)
class Part:
    """What to run, how to know that it is ready, and which parts (by name) must be ready before it starts.

    The variables in `scratch_in` name a temporary folder of each start's own, which is removed at its end.
    `usual_start` says how long a start usually takes, where that is known.
    """

    name: str
    title: str
    command: Sequence[str]
    environment: Mapping[str, str]
    probe: Probe
    needs: frozenset[str] = field(default_factory=frozenset)
    scratch_in: Sequence[str] = ()
    usual_start: str = ""


class Watcher(Protocol):
    """Who is told what becomes of the parts."""

    def changed(self, part: Part, phase: Phase) -> None: ...

    def died(self, part: Part, exit_code: int, delay_s: float, log: Path, last_lines: Sequence[str]) -> None: ...

    def ending(self, part: Part) -> None: ...


class Stack:
    """The parts of one launcher, in the order in which they were given; logs go to `logs`/<name>.log."""

    def __init__(self, parts: Sequence[Part], logs: Path, watcher: Watcher, policy: Policy | None = None) -> None:
        self._parts = list(parts)
        self._logs = logs
        self._watcher = watcher
        self._policy = policy or Policy()
        self._ready = {part.name: asyncio.Event() for part in parts}
        self._children: dict[str, Child] = {}
        self._stopping = asyncio.Event()
        self._hurry = asyncio.Event()

    def stop(self) -> None:
        """End everything in order; told a second time, at once."""
        (self._hurry if self._stopping.is_set() else self._stopping).set()

    async def run(self, work: Callable[[], Awaitable[Result]]) -> Result | None:
        """Start all parts, do `work` when all are ready, and end them; None when stopped before `work` was done.

        Raises PartFailed when a part cannot be started, and whatever `work` raises.
        """
        sweeper = start_sweeper(self._policy.grace_s)
        try:
            return await self._run(work, lambda sign, child: announce(sweeper, sign, child))
        finally:
            sweeper.communicate()

    async def _run(self, work: Callable[[], Awaitable[Result]], tell: Callable[[str, Child], None]) -> Result | None:
        keepers = [asyncio.create_task(self._keep(part, tell), name=part.name) for part in self._parts]
        working = asyncio.ensure_future(self._when_ready(work))
        stopping = asyncio.create_task(self._stopping.wait())
        try:
            await asyncio.wait([*keepers, working, stopping], return_when=asyncio.FIRST_COMPLETED)
            for keeper in keepers:
                if keeper.done():
                    keeper.result()  # a keeper only ends by raising
            return working.result() if working.done() else None
        finally:
            self._stopping.set()  # from here on a stop from outside means: hurry
            await end(*keepers, working, stopping)
            await self._end_all(tell)

    async def _when_ready(self, work: Callable[[], Awaitable[Result]]) -> Result:
        for ready in self._ready.values():
            await ready.wait()
        return await work()

    async def _keep(self, part: Part, tell: Callable[[str, Child], None]) -> None:
        """Live the life of one part; returns never, raises PartFailed when it is given up."""
        course = Course()
        self._watcher.changed(part, course.phase)
        for need in sorted(part.needs & self._ready.keys()):
            await self._ready[need].wait()
        while True:
            course = self._turn(part, course, Event.CALLED)
            log = self._logs / f"{part.name}.log"
            child = await Child.start(part.command, part.environment, log, part.scratch_in)
            self._children[part.name] = child
            tell("+", child)
            course, exit_code = await self._watch(part, course, child)
            await child.kill()  # what a dead parent leaves, vLLM's engine for one, holds memory and ports
            tell("-", child)
            del self._children[part.name]
            outcome = end_of(course, exit_code, self._policy)
            course = self._turn(part, course, outcome)
            if course.phase is Phase.GIVEN_UP:
                raise PartFailed(failure(part, exit_code, course, child))
            pause_s = delay_s(course, self._policy)
            self._watcher.died(part, exit_code, pause_s, log, telling(child.last_lines(_LINES_READ), _LINES_SHOWN))
            await asyncio.sleep(pause_s)

    async def _watch(self, part: Part, course: Course, child: Child) -> tuple[Course, int]:
        """Follow a started child to its end."""
        ended = asyncio.create_task(child.process.wait())
        try:
            while not ended.done() and not await part.probe.answers():
                await asyncio.wait([ended], timeout=_PROBE_EVERY_S)
            if not ended.done():
                course = self._turn(part, course, Event.ANSWERED)
                await asyncio.wait([ended], timeout=self._policy.steady_s)
            if not ended.done():
                course = self._turn(part, course, Event.STEADIED)
            return course, await ended
        finally:
            ended.cancel()

    def _turn(self, part: Part, course: Course, event: Event) -> Course:
        turned = step(course, event)
        if turned.phase is not course.phase:
            self._watcher.changed(part, turned.phase)
        if turned.phase is Phase.READY:
            self._ready[part.name].set()
        return turned

    async def _end_all(self, tell: Callable[[str, Child], None]) -> None:
        for part in reversed(self._parts):
            child = self._children.pop(part.name, None)
            if child is not None:
                self._watcher.ending(part)
                await child.end(self._policy.grace_s, self._hurry)
                tell("-", child)


def failure(part: Part, exit_code: int, course: Course, child: Child) -> str:
    """Why a part was given up, in one sentence."""
    reason = reason_in(child.last_lines(_LINES_READ))
    said = f': "{reason}"' if reason else ""
    times = "" if course.deaths == 1 else f" {course.deaths} times"
    end = f"exit code {exit_code}" if exit_code >= 0 else f"killed, {signal_name(-exit_code)}"
    return f"{part.title} could not start ({end}{times}){said}; its log is {child.log}."
