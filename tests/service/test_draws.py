"""What is drawn for a pair: in range, the same again for the same key, and spread as the settings say."""

import hashlib
from statistics import fmean, pstdev

from hypothesis import given
from hypothesis import strategies as st

from pairs.model import Method
from service.draws import MISLEADING_PREFIXES, RATIO_RANGE, draw_ratio, keyed_int, longest_prompt, misleading_prompt

_seeds = st.integers(0, 2**63 - 1)
_hashes = st.binary(max_size=8).map(lambda content: hashlib.sha256(content).hexdigest())
_methods = st.sampled_from(list(RATIO_RANGE))


@given(_methods, st.floats(-2, 2), st.floats(0, 2), _seeds, _hashes)
def test_a_ratio_is_in_its_methods_range_and_drawn_again_the_same(
    method: Method, mean: float, std: float, seed: int, sha256: str
) -> None:
    low, high = RATIO_RANGE[method]
    ratio = draw_ratio(method, mean, std, seed, sha256)
    assert low <= ratio <= high
    assert ratio == draw_ratio(method, mean, std, seed, sha256)


@given(_methods, st.floats(0, 1), _seeds, _hashes)
def test_no_spread_is_a_fixed_ratio(method: Method, mean: float, seed: int, sha256: str) -> None:
    assert draw_ratio(method, mean, 0, seed, sha256) == mean


def test_ratios_over_images_are_gaussian() -> None:
    drawn = [draw_ratio(Method.BLEND, 0.5, 0.15, 7, f"{image:064x}") for image in range(4000)]
    assert abs(fmean(drawn) - 0.5) < 0.01
    assert abs(pstdev(drawn) - 0.15) < 0.01


@given(_seeds, _hashes, st.integers(1, 62))
def test_keys_give_integers_of_the_asked_width(seed: int, sha256: str, bits: int) -> None:
    assert 0 <= keyed_int(seed, sha256, "any", bits) < 2**bits


@given(_seeds, _hashes, st.text(min_size=1))
def test_a_misleading_prompt_ends_in_the_prompt(seed: int, sha256: str, prompt: str) -> None:
    misleading = misleading_prompt(prompt, seed, sha256)
    assert misleading.endswith(prompt)
    assert misleading.removesuffix(prompt) in MISLEADING_PREFIXES
    assert len(misleading) <= len(longest_prompt(prompt, Method.PROMPT))
