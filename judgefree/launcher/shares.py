"""How many threads each part computes with, so that no two OpenMP pools fight over one core."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Shares:
    """How many threads vLLM and the verifier compute with; `workers.mllm` binds vLLM's to as many cores."""

    mllm_threads: int
    verifier_threads: int


def thread_shares(cores: int) -> Shares:
    """Share `cores` usable cores, at least one, between vLLM and the verifier.

    The verifier gets a quarter and from four cores on the gateway keeps one free; two pools that together have more
    threads than there are cores run ten to twenty times slower than one after the other, since OpenMP's barriers spin.
    """
    verifier = max(1, cores // 4)
    gateway = 1 if cores >= 4 else 0
    return Shares(max(1, cores - verifier - gateway), verifier)
