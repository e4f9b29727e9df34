"""The trainer's programs as a round runs them: to their end, in a log, ended with us; what they report is JSON."""

import asyncio
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from judgefree.launcher.environment import settings_environment
from judgefree.launcher.processes import Child
from judgefree.mistakes import PartFailed
from judgefree.rooms import program
from pairs.settings import Settings

_TICK_S = 0.5
_GRACE_S = 10.0


@dataclass(frozen=True)
class Programs:
    """`python -m trainer` under `settings`, its words in `log`."""

    settings: Settings
    log: Path

    async def run(self, *words: str, tick: Callable[[], None] = lambda: None) -> str:
        """Run `python -m trainer WORDS` and return the last line that it wrote; `tick` is called now and then.

        Raises PartFailed, with the program's own sentence, where it fails.
        """
        child = await Child.start(program("trainer", *words), self._environment(), self.log)
        try:
            ended = asyncio.create_task(child.process.wait())
            while not (await asyncio.wait([ended], timeout=_TICK_S))[0]:
                tick()
            last = (child.last_lines(1) or [""])[0]
            if ended.result() != 0:
                sentence = last.removeprefix("judgefree: ")
                raise PartFailed(f"`judgefree {words[0]}` failed: {sentence} Its log is {self.log}.")
            return last
        finally:
            await child.end(_GRACE_S, asyncio.Event())

    async def report(self, out: Path, *words: str) -> dict[str, Any]:
        """What a program that takes `--out FILE` wrote there."""
        await self.run(*words, "--out", str(out))
        return await asyncio.to_thread(_read, out)

    def _environment(self) -> Mapping[str, str]:
        """This process's, the settings in force over it: the tables of the settings file stay in force."""
        return os.environ | settings_environment(self.settings)


def _read(file: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return found


def flags(**given: object) -> Sequence[str]:
    """Command-line flags for what is not None; a sequence gives its flag for each of its values."""
    found: list[str] = []
    for name, value in given.items():
        flag = f"--{name.replace('_', '-')}"
        for one in value if isinstance(value, tuple) else (value,):
            if one is not None:
                found += [flag, str(one)]
    return found
