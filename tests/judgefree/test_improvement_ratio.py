"""The ratio of a round rises until enough of its pairs are decided."""

import pytest

from judgefree.improvement.asked import Asked
from judgefree.improvement.ratio import MOST, ratio_of
from pairs.model import Method


async def _found(start: float, least: float, decided: dict[float, float]) -> tuple[float, list[float]]:
    tried: list[float] = []

    async def probe(mean: float) -> float:
        tried.append(mean)
        return decided.get(mean, 0.0)

    return await ratio_of(start, least, probe), tried


async def test_it_stays_where_enough_pairs_are_decided_there() -> None:
    assert await _found(0.35, 0.4, {0.35: 0.4}) == (0.35, [0.35])


async def test_it_rises_to_the_first_mean_that_decides_enough() -> None:
    assert await _found(0.35, 0.4, {0.35: 0.2, 0.45: 0.3, 0.55: 0.5, 0.65: 0.9}) == (0.55, [0.35, 0.45, 0.55])


async def test_where_none_decides_enough_it_is_the_one_that_decides_most() -> None:
    assert (await _found(0.5, 0.9, {0.5: 0.2, 0.6: 0.4, 0.7: 0.3}))[0] == 0.6


@pytest.mark.parametrize(("start", "tried"), [(0.7, [0.7, 0.8, 0.9]), (0.9, [0.9]), (1.2, [1.2]), (0.85, [0.85])])
async def test_it_never_rises_above_its_bound_nor_falls_below_its_start(start: float, tried: list[float]) -> None:
    assert (await _found(start, 0.5, {}))[1] == tried
    assert max(tried) <= max(MOST, start)


@pytest.mark.parametrize("method", [Method.DROP, Method.NOISE, Method.PROMPT])
def test_a_method_without_a_ratio_is_refused(method: Method) -> None:
    with pytest.raises(ValueError, match=f"method {method} has no ratio that could be raised"):
        Asked(method=method, least_decided=0.5)
