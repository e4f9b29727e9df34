"""Thread shares: no two pools have more threads together than there are cores."""

from hypothesis import given
from hypothesis import strategies as st

from judgefree.launcher.shares import Shares, thread_shares


@given(st.integers(1, 1024))
def test_every_part_has_a_thread(cores: int) -> None:
    shares = thread_shares(cores)
    assert shares.mllm_threads >= 1
    assert shares.verifier_threads >= 1


@given(st.integers(2, 1024))
def test_the_pools_never_have_more_threads_than_there_are_cores(cores: int) -> None:
    shares = thread_shares(cores)
    assert shares.mllm_threads + shares.verifier_threads <= cores


@given(st.integers(4, 1024))
def test_with_four_cores_one_stays_free_for_the_gateway(cores: int) -> None:
    shares = thread_shares(cores)
    assert shares.mllm_threads + shares.verifier_threads < cores


@given(st.integers(1, 1024))
def test_more_cores_never_mean_fewer_threads(cores: int) -> None:
    fewer, more = thread_shares(cores), thread_shares(cores + 1)
    assert more.verifier_threads >= fewer.verifier_threads
    assert more.mllm_threads + more.verifier_threads >= fewer.mllm_threads + fewer.verifier_threads


def test_on_two_cores_each_has_one() -> None:
    assert thread_shares(2) == Shares(mllm_threads=1, verifier_threads=1)
