"""The one way to write to the person at the terminal."""

from rich.console import Console


def terminal(*, stderr: bool = True) -> Console:
    """A console that shows text as it is: a path with brackets is no markup, and long lines are not broken."""
    return Console(stderr=stderr, markup=False, highlight=False, soft_wrap=True)
