"""Work that needs a stack: on one of its own, which is ended with it."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from rich.console import Console

from judgefree.commands.stack import no_settings_file, stop_on_signals
from judgefree.launcher.board import Board
from judgefree.launcher.parts import plan
from judgefree.launcher.preflight import hold_folder, require_space
from judgefree.launcher.stack import Stack
from pairs.settings import Settings

Result = TypeVar("Result")


def on_a_stack(settings: Settings, console: Console, work: Callable[[Settings], Awaitable[Result]]) -> Result | None:
    """Start the parts, do `work` under the settings that they got, end them; None when a person broke it off.

    Raises Mistake where the folder is another launcher's, PartFailed where a part cannot be started.
    """
    with hold_folder(settings.data_dir):
        require_space(settings.data_dir)
        what = plan(settings, no_settings_file(settings.data_dir))
        with Board(console, settings.data_dir / "logs") as board:
            running = Stack(what.parts, settings.data_dir / "logs", board)

            async def rested() -> Result:
                board.rest()
                return await work(what.settings)

            async def run() -> Result | None:
                stop_on_signals(running)
                return await running.run(rested)

            return asyncio.run(run())
