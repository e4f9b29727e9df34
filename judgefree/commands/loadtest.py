"""`loadtest`: load on a gateway, by the load tests' own program, on a deployment or on a stack of its own."""

import asyncio
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from judgefree.commands.hosting import on_a_stack
from judgefree.commands.terminal import terminal
from judgefree.demonstration import Places, demo_settings
from judgefree.launcher import tether
from judgefree.launcher.parts import answers, base_url
from judgefree.launcher.preflight import hold_folder, require_module, require_space
from judgefree.launcher.probes import HttpProbe
from judgefree.rooms import program
from pairs.settings import Settings, load_settings

PROFILES = ("mixed",)
GRACE_S = 120.0
"""How long a load test that is broken off may take to check and report what it has done."""


def loadtest(
    context: typer.Context,
    host: Annotated[str | None, typer.Option(help="The gateway's URL. If not given: the one of the settings.")] = None,
    profile: Annotated[list[str] | None, typer.Option(help="Which load; several are put on in turn. [mixed]")] = None,
    out: Annotated[
        Path | None, typer.Option(help="Where a folder for each profile's report goes. [`loadtest` in the data folder]")
    ] = None,
    keep: Annotated[bool, typer.Option(help="Keep the folder of a stack of its own: queue, store, logs.")] = False,
) -> None:
    """Put load on a gateway and check that it loses nothing; a stack of its own is started where none is ready.

    Further flags are the program's: --profiles FILE, --images FOLDER, --master --expect-workers N, --worker
    --master-host HOST (`python -m loadtests --help`). Exit code 1 where a threshold is not met or a pair is missing.
    """
    require_module("locust", "The load test", "loadtest")
    if "--worker" in context.args:
        os.execv(sys.executable, program("loadtests", *context.args))
    settings = load_settings()
    names, root = profile or PROFILES, (out or settings.data_dir / "loadtest")
    own = base_url(settings.host, settings.port)
    if host is not None or answers(HttpProbe(f"{own}/readyz")):
        code: int | None = asyncio.run(_in_turn(host or own, names, root, context.args))
    else:
        code = _on_a_stack_of_its_own(settings, names, root, context.args, keep)
    if code is None:
        raise typer.Abort
    raise typer.Exit(code)


def _on_a_stack_of_its_own(
    settings: Settings, names: Sequence[str], root: Path, rest: Sequence[str], keep: bool
) -> int | None:
    """With the embedded models and a store of its own: the person's pairs stay as they are."""
    places = Places(settings.data_dir / "loadtest")
    console = terminal()
    with hold_folder(places.root):
        require_space(places.root)
        shutil.rmtree(places.stack, ignore_errors=True)
        places.stack.mkdir()

        async def work(own: Settings) -> int:
            return await _in_turn(base_url(own.host, own.port), names, root, rest)

        code = on_a_stack(demo_settings(places), console, work)
        if not keep:
            shutil.rmtree(places.stack)
    return code


async def _in_turn(host: str, names: Sequence[str], root: Path, rest: Sequence[str]) -> int:
    """One profile after the other; the worst exit code. What cannot be done as asked ends it."""
    worst = 0
    for name in names:
        code = await _one(["--host", host, "--profile", name, "--out", str(root / name), *rest])
        worst = max(worst, code)
        if code > 1:
            break
    return worst


async def _one(words: Sequence[str]) -> int:
    """Run the program to its end. It has a session of its own, so that Ctrl-C reaches this process alone, which then
    lets it finish its report; it ends with this process in any case."""
    tied = (sys.executable, "-I", "-S", tether.__file__, str(os.getpid()))
    process = await asyncio.create_subprocess_exec(*tied, *program("loadtests", *words), start_new_session=True)
    try:
        return await process.wait()
    except asyncio.CancelledError:
        process.terminate()
        try:
            await asyncio.wait_for(process.wait(), GRACE_S)
        except TimeoutError:
            process.kill()
        raise
