"""`python -m trainer COMMAND`: snapshot, snapshots, train, evaluate, drift."""

import sys
from collections.abc import Callable, Sequence
from importlib import import_module

from pairs.errors import JudgefreeError

MISTAKE, INTERRUPTED = 2, 130
COMMANDS = {
    "snapshot": ("snapshots", "snapshot"),
    "snapshots": ("snapshots", "snapshots"),
    "train": ("train", "run_training"),
    "evaluate": ("evaluate", "evaluate"),
    "drift": ("drift", "drift"),
}
"""Each command's module in `trainer.commands` and its function there."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; 2 and one sentence for what is wrong with a setting, a source or the data."""
    name, *rest = (sys.argv[1:] if arguments is None else arguments) or [""]
    if name not in COMMANDS:
        print(f"usage: python -m trainer {{{','.join(COMMANDS)}}} ...", file=sys.stderr)  # noqa: T201 - for people
        return MISTAKE
    try:
        _command(name)(rest)
    except JudgefreeError as error:
        print(f"judgefree: {error.detail}", file=sys.stderr)  # noqa: T201 - the terminal is for people
        return MISTAKE
    except KeyboardInterrupt:
        return INTERRUPTED
    return 0


def _command(name: str) -> Callable[[Sequence[str]], None]:
    """Imported when it is called for: torch takes seconds, and listing snapshots needs none of it."""
    module, function = COMMANDS[name]
    command: Callable[[Sequence[str]], None] = getattr(import_module(f"trainer.commands.{module}"), function)
    return command


if __name__ == "__main__":
    sys.exit(main())
