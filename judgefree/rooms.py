"""How the front door runs another room: as a program of the same Python."""

import sys


def program(*words: str) -> tuple[str, ...]:
    """The command `python -m WORDS`. -P: a folder of the working directory that happens to be called `service` or
    `demo` is not the room of that name."""
    return (sys.executable, "-P", "-m", *words)
