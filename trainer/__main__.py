"""`python -m trainer COMMAND`: snapshot, snapshots, train."""

import sys
from collections.abc import Callable, Sequence

from pairs.errors import JudgefreeError

MISTAKE = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; 2 and one sentence for what is wrong with a setting, a source or the data."""
    name, *rest = (sys.argv[1:] if arguments is None else arguments) or [""]
    if name not in COMMANDS:
        print(f"usage: judgefree {{{','.join(COMMANDS)}}} ...", file=sys.stderr)  # noqa: T201 - for people
        return MISTAKE
    try:
        COMMANDS[name](rest)
    except JudgefreeError as error:
        print(f"judgefree: {error.detail}", file=sys.stderr)  # noqa: T201 - the terminal is for people
        return MISTAKE
    except KeyboardInterrupt:
        return 130
    return 0


# Each command imports what it needs when it is called: torch takes seconds, and listing snapshots needs none of it.
def _snapshot(arguments: Sequence[str]) -> None:
    from trainer.commands.snapshots import snapshot

    snapshot(arguments)


def _snapshots(arguments: Sequence[str]) -> None:
    from trainer.commands.snapshots import snapshots

    snapshots(arguments)


def _train(arguments: Sequence[str]) -> None:
    from trainer.commands.train import run_training

    run_training(arguments)


COMMANDS: dict[str, Callable[[Sequence[str]], None]] = {
    "snapshot": _snapshot,
    "snapshots": _snapshots,
    "train": _train,
}


if __name__ == "__main__":
    sys.exit(main())
