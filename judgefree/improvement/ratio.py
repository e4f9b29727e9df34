"""The ratio of a round. The better a policy is, the less a little of its blind context makes it hallucinate: with h
left as it was, fewer and fewer pairs would be decided."""

from collections.abc import Awaitable, Callable

STEP = 0.1
MOST = 0.9
"""Above it an answer has little to do with its image, and is told from a good one by anything."""


async def ratio_of(start: float, least_decided: float, probe: Callable[[float], Awaitable[float]]) -> float:
    """The first mean ratio among `start`, `start` + STEP ... MOST with which at least the share `least_decided` of
    pairs is decided (kept or swapped), as `probe` measures it; where none is, the one with the largest share.
    """
    shares: dict[float, float] = {}
    mean = start
    while True:
        shares[mean] = await probe(mean)
        if shares[mean] >= least_decided:
            return mean
        mean = round(mean + STEP, 6)
        if mean > MOST:
            return max(shares, key=lambda one: shares[one])
