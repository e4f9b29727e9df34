"""`up`, and the commands that become one of the deployables."""

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from judgefree import rooms
from judgefree.commands.terminal import terminal
from judgefree.launcher.board import Board
from judgefree.launcher.parts import Plan, base_url, plan
from judgefree.launcher.preflight import hold_folder, require_space
from judgefree.launcher.stack import Stack
from pairs.settings import load_settings

PASS_ALL = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}
PROGRAMS = (
    ("gateway", ("service",), "Run the gateway here; further arguments are its own."),
    ("mllm", ("workers.mllm",), "Run vLLM with paired decoding here; further arguments are its own."),
    ("verifier", ("workers.clip",), "Run the verifier here; further arguments are its own."),
    ("train", ("trainer", "train"), "Train an adapter on the store's pairs; further arguments are the trainer's."),
    ("evaluate", ("trainer", "evaluate"), "Evaluate a served model; further arguments are the evaluator's."),
    ("snapshot", ("trainer", "snapshot"), "Write down what can be trained on; further arguments are the trainer's."),
    ("snapshots", ("trainer", "snapshots"), "List the snapshots."),
    ("demo-train", ("demo", "train"), "Train the two embedded models; further arguments are the trainer's."),
    ("demo-evaluate", ("demo", "evaluate"), "Evaluate the two embedded models; further arguments are the evaluator's."),
)


def program(words: tuple[str, ...]) -> Callable[[typer.Context], None]:
    """A command that becomes `python -m WORDS`: its process id, signals and exit code are the program's."""

    def become(context: typer.Context) -> None:
        os.execv(sys.executable, rooms.program(*words, *context.args))

    return become


def up(
    model: Annotated[str | None, typer.Option(help="The policy: a Hugging Face name, a folder, or `demo`.")] = None,
    adapter: Annotated[str | None, typer.Option(help="LoRA adapter for requests that name none; `base`: none.")] = None,
    max_lora_rank: Annotated[int | None, typer.Option(help="Largest rank of an adapter; 0: no adapters.")] = None,
    clip: Annotated[str | None, typer.Option(help="The encoder: MODEL/PRETRAINED, a folder, or `demo`.")] = None,
    host: Annotated[str | None, typer.Option(help="Address that the gateway listens on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port of the gateway.")] = None,
    mllm_port: Annotated[int | None, typer.Option(help="Port of vLLM.")] = None,
    verifier_port: Annotated[int | None, typer.Option(help="Port of the verifier's health page.")] = None,
    redis_url: Annotated[str | None, typer.Option(help="A Redis to use, or the port of the embedded one.")] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Folder of everything that is kept.")] = None,
) -> None:
    """Start everything on this machine and keep it running; one Ctrl-C ends it."""
    settings = load_settings(**locals())
    with hold_folder(settings.data_dir):
        require_space(settings.data_dir)
        what = plan(settings, no_settings_file(settings.data_dir))
        with Board(terminal(), settings.data_dir / "logs") as board:
            for warning in what.warnings:
                board.say(warning)
            asyncio.run(_keep_up(what, board))


async def _keep_up(what: Plan, board: Board) -> None:
    settings = what.settings
    running = Stack(what.parts, settings.data_dir / "logs", board)
    stop_on_signals(running)
    for_ever = asyncio.Event()

    async def stay() -> None:
        url = base_url(settings.host, settings.port)
        board.say(f"judgefree is ready at {url} (API: {url}/docs). Data: {settings.data_dir}. Ctrl-C ends it.")
        await for_ever.wait()

    await running.run(stay)
    board.say("Everything has ended; the data stays for the next `judgefree up`.")


def stop_on_signals(running: Stack) -> None:
    """SIGINT and SIGTERM end the stack in order; a second one ends it at once."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, running.stop)


def no_settings_file(data_dir: Path) -> Path:
    """An empty settings file for the parts, which take every setting from their environment."""
    file = data_dir.resolve() / "parts.toml"
    file.write_text("# The parts take every setting from the environment that their launcher gives them.\n")
    return file
