from hypothesis import given
from hypothesis import strategies as st

from loadtests.latency import QUANTILES, quantile, quantiles

TIMES = st.lists(st.floats(0, 1e6), min_size=1, max_size=200)


@given(TIMES, st.floats(0.001, 1))
def test_a_quantile_is_the_least_value_that_its_share_does_not_exceed(times: list[float], share: float) -> None:
    found = quantile(times, share)
    assert found in times
    assert found is not None
    assert sum(one <= found for one in times) >= share * len(times) - 1e-9 * len(times)
    below = [one for one in times if one < found]
    assert len(below) < share * len(times)


@given(TIMES)
def test_the_named_quantiles_rise_up_to_the_longest_time(times: list[float]) -> None:
    found = quantiles(times)
    values = [value for value in found.values() if value is not None]
    assert list(found) == list(QUANTILES)
    assert values == sorted(values)
    assert values[-1] == max(times)


def test_of_nothing_there_are_none() -> None:
    assert quantile([], 0.5) is None
    assert set(quantiles([]).values()) == {None}
