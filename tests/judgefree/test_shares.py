"""Thread shares: no two pools have more threads together than there are cores."""

from hypothesis import given
from hypothesis import strategies as st

from judgefree.launcher.shares import mllm_threads, thread_shares, verifier_threads

CORES = st.sets(st.integers(0, 511), min_size=1, max_size=128)


@given(CORES)
def test_every_part_has_a_thread_and_vllm_computes_on_cores_that_are_there(cores: set[int]) -> None:
    shares = thread_shares(cores)
    assert shares.verifier_threads >= 1
    assert shares.mllm_cores
    assert set(shares.mllm_cores) <= cores


@given(CORES.filter(lambda cores: len(cores) >= 2))
def test_the_pools_never_have_more_threads_than_there_are_cores(cores: set[int]) -> None:
    shares = thread_shares(cores)
    assert len(shares.mllm_cores) + shares.verifier_threads <= len(cores)


@given(CORES.filter(lambda cores: len(cores) >= 4))
def test_with_four_cores_one_stays_free_for_the_gateway(cores: set[int]) -> None:
    shares = thread_shares(cores)
    assert len(shares.mllm_cores) + shares.verifier_threads < len(cores)


def test_on_two_cores_each_has_one() -> None:
    shares = thread_shares({0, 1})
    assert mllm_threads(shares) == {"OMP_NUM_THREADS": "1", "VLLM_CPU_OMP_THREADS_BIND": "1"}
    assert verifier_threads(shares) == {"OMP_NUM_THREADS": "1"}
