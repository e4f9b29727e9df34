"""The command line: every command in one list, and what becomes of a mistake."""

import errno
import sys
from collections.abc import Sequence
from importlib.metadata import version

import typer
from typer.exceptions import TyperException

from judgefree.commands import ablate, adapters, backup, data, demo, doctor, improve, loadtest, migrate, stack, submit
from judgefree.mistakes import PartFailed
from pairs.errors import JudgefreeError

MISTAKE, FAILURE, INTERRUPTED = 2, 1, 130

app = typer.Typer(
    name="judgefree",
    help="Preference pairs for vision-language models from controlled hallucination, without a judge.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command("up")(stack.up)
app.command("demo")(demo.demo)
app.command("submit")(submit.submit)
app.command("export")(data.export)
app.command("requeue")(data.requeue)
app.command("backup")(backup.backup)
app.command("migrate")(migrate.migrate)
app.command("improve", context_settings={"allow_extra_args": True})(improve.improve)
app.command("ablate", context_settings={"allow_extra_args": True})(ablate.ablate)
app.command("loadtest", context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(loadtest.loadtest)
app.command("adapters")(adapters.adapters)
app.command("rollback")(adapters.rollback)
app.command("doctor")(doctor.doctor)
for name, module, about in stack.PROGRAMS:
    app.command(name, help=about, context_settings=stack.PASS_ALL)(stack.program(module))


@app.command("version")
def show_version() -> None:
    """Print the version."""
    typer.echo(version("judgefree"))


def run(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 2 with one sentence for the user's mistake, 1 where a part fails."""
    try:
        result = app(args=None if arguments is None else list(arguments), standalone_mode=False)
    except TyperException as error:
        message = error.format_message()  # empty where the help was asked for and shown
        return _refuse(message, MISTAKE) if message else MISTAKE
    except JudgefreeError as error:
        is_fault_of_ours = error.status >= 500 and error.type not in ("settings", "missing-model")
        return _refuse(str(error), FAILURE if is_fault_of_ours or isinstance(error, PartFailed) else MISTAKE)
    except (typer.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except OSError as error:
        if error.errno == errno.ENOSPC:
            return _refuse("The disk is full; make room and run the command again.", MISTAKE)
        raise
    return result if isinstance(result, int) else 0


def _refuse(sentence: str, code: int) -> int:
    print(f"judgefree: {sentence}", file=sys.stderr)  # noqa: T201 - the one sentence for the person at the terminal
    return code
