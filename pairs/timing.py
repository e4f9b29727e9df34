"""How long a part waits for the store and the image store, told to whoever measures it."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Observe = Callable[[str, float], None]
"""Told the name of an operation and the seconds that it took, whether it succeeded or not."""


def unobserved(operation: str, seconds: float) -> None:
    """Nobody measures."""


@contextmanager
def timed(observe: Observe, operation: str) -> Iterator[None]:
    """Tell `observe` how long the block took."""
    started = time.perf_counter()
    try:
        yield
    finally:
        observe(operation, time.perf_counter() - started)
