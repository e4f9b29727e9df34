"""How many threads each part computes with, so that no two OpenMP pools fight over one core."""

from collections.abc import Collection
from dataclasses import dataclass


@dataclass(frozen=True)
class Shares:
    """vLLM's own cores, by id, and how many threads the verifier has."""

    mllm_cores: tuple[int, ...]
    verifier_threads: int


def thread_shares(cores: Collection[int]) -> Shares:
    """Share the usable `cores` (their ids, at least one) between vLLM and the verifier.

    The verifier gets a quarter and from four cores on the gateway keeps one free; two pools that together have more
    threads than there are cores run ten to twenty times slower than one after the other, since OpenMP's barriers spin.
    """
    ids = sorted(cores)
    verifier = max(1, len(ids) // 4)
    gateway = 1 if len(ids) >= 4 else 0
    mllm = max(1, len(ids) - verifier - gateway)
    return Shares(tuple(ids[-mllm:]), verifier)


def mllm_threads(shares: Shares) -> dict[str, str]:
    return {
        "OMP_NUM_THREADS": str(len(shares.mllm_cores)),
        "VLLM_CPU_OMP_THREADS_BIND": ",".join(str(core) for core in shares.mllm_cores),
    }


def verifier_threads(shares: Shares) -> dict[str, str]:
    return {"OMP_NUM_THREADS": str(shares.verifier_threads)}
