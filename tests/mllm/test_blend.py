"""The arithmetic of the blend and of the common draw."""

import pytest
import torch

from workers.mllm.blend import Draw, Mixture, draw_tokens, leave_only, uniform, warm


def draw_of(twins: int, temperature: float = 1.0, min_p: float = 0.0, seed: int = 0) -> Draw:
    return Draw(torch.full((twins,), temperature), torch.full((twins,), min_p), torch.arange(seed, seed + twins))


def blend_of_two(logits: torch.Tensor, ratio: float, is_convex: bool = False) -> torch.Tensor:
    return Mixture.of(torch.tensor([0]), torch.tensor([1]), torch.tensor([ratio]), is_convex).of_logits(logits)


def test_blend_is_the_formula_row_by_row_and_exact_at_both_ends() -> None:
    logits = torch.randn(6, 11)
    grounded, blind = torch.tensor([0, 4, 2, 5]), torch.tensor([3, 1, 0, 5])
    ratios = torch.tensor([0.0, 1.0, 0.6, -0.5])
    blended = Mixture.of(grounded, blind, ratios).of_logits(logits)
    assert torch.equal(blended[0], logits[0])
    assert torch.equal(blended[1], logits[1])
    torch.testing.assert_close(blended[2], 0.4 * logits[2] + 0.6 * logits[0])
    torch.testing.assert_close(blended[3], logits[5])


@pytest.mark.parametrize("ratio", [-2.0, -0.5, 0.0, 0.3, 1.0, 1.5])
def test_a_token_that_a_context_rules_out_stays_out_unless_that_context_has_no_weight(ratio: float) -> None:
    grounded = torch.tensor([0.5, -torch.inf, 2.0, -torch.inf])
    blind = torch.tensor([1.0, 3.0, -torch.inf, -torch.inf])
    (blended,) = blend_of_two(torch.stack([grounded, blind]), ratio)
    if ratio in (0.0, 1.0):
        assert torch.equal(blended, (grounded, blind)[int(ratio)])
    else:
        torch.testing.assert_close(blended[0], (1 - ratio) * grounded[0] + ratio * blind[0])
        assert blended[1:].isneginf().all()
    if 0 <= ratio <= 1:
        assert torch.equal(blend_of_two(torch.stack([grounded, blind]), ratio, is_convex=True)[0], blended)


def test_a_models_nan_is_not_hidden() -> None:
    logits = torch.tensor([[torch.nan, 1.0], [-torch.inf, 2.0]])
    (blended,) = blend_of_two(logits, 0.5)
    assert blended[0].isnan()
    assert blended[1] == 1.5


def test_the_logits_that_are_blended_stay_as_they_are() -> None:
    logits = torch.randn(2, 7)
    before = logits.clone()
    blend_of_two(logits, 0.5)
    assert torch.equal(logits, before)


def test_a_uniform_number_depends_on_seed_and_step_alone() -> None:
    seeds, steps = torch.tensor([3, 3, 4, -5]), torch.tensor([0, 1, 0, 7])
    drawn = uniform(seeds, steps)
    assert torch.equal(uniform(seeds.flip(0), steps.flip(0)), drawn.flip(0))
    assert len(set(drawn.tolist())) == 4
    assert all(0 < number <= 1 for number in drawn)


def test_uniform_numbers_are_uniform_over_seeds_and_over_steps() -> None:
    """Chi-square tests over 64 bins at fixed seeds; 103.4 is the 99.9 % point of 63 degrees of freedom."""
    count, bins = 64_000, 64
    counting, one = torch.arange(count), torch.full((count,), 5)
    for seeds, steps in ((counting, one), (one, counting), (counting << 40, one)):
        found = (uniform(seeds, steps) * bins).ceil().long().sub(1).bincount(minlength=bins)
        assert ((found - count / bins) ** 2 / (count / bins)).sum() < 103.4


def test_a_token_without_probability_is_never_drawn() -> None:
    logits = torch.full((20_000, 9), -torch.inf)
    logits[:, [2, 6]] = torch.tensor([0.0, -30.0])
    drawn = draw_tokens(logits, draw_of(20_000), torch.zeros(20_000, dtype=torch.int64))
    assert set(drawn.tolist()) == {2}


def test_logits_that_are_no_numbers_still_give_a_token_of_the_vocabulary() -> None:
    """A broken model must not end the engine, in which others are served too."""
    logits = torch.tensor([[torch.nan] * 5, [-torch.inf] * 5])
    assert all(0 <= token < 5 for token in draw_tokens(logits, draw_of(2), torch.tensor([0, 1])))


def test_draws_follow_the_softmax() -> None:
    """A chi-square test at fixed seeds: 40,000 draws from five tokens; 18.5 is the 99.9 % point of 4 degrees."""
    twins = 40_000
    logits = torch.tensor([2.0, 1.0, 0.0, -1.0, 0.5])
    drawn = draw_tokens(logits.expand(twins, -1), draw_of(twins), torch.zeros(twins, dtype=torch.int64))
    expected = logits.softmax(0) * twins
    chi_square = ((drawn.bincount(minlength=5) - expected) ** 2 / expected).sum()
    assert chi_square < 18.5


def test_successive_steps_of_one_seed_follow_the_softmax_too() -> None:
    steps = torch.arange(40_000)
    one_seed = Draw(torch.ones(len(steps)), torch.zeros(len(steps)), torch.full((len(steps),), 9))
    logits = torch.tensor([0.3, 0.3, 1.5])
    drawn = draw_tokens(logits.expand(len(steps), -1), one_seed, steps)
    expected = logits.softmax(0) * len(steps)
    assert ((drawn.bincount(minlength=3) - expected) ** 2 / expected).sum() < 13.8


def test_temperature_and_min_p_cut_as_vllm_does() -> None:
    logits = torch.tensor([[2.0, 0.0, -6.0]])
    warmed = warm(logits, draw_of(1, temperature=2.0, min_p=0.1))
    torch.testing.assert_close(warmed[0, :2], torch.tensor([1.0, 0.0]))
    assert warmed[0, 2] == -torch.inf
    assert warm(logits, draw_of(1)).isfinite().all()


def test_both_rows_of_twins_are_left_one_choice_and_no_other_row_is_touched() -> None:
    logits = torch.randn(5, 4)
    before = logits.clone()
    leave_only(torch.tensor([2, 0]), logits, (torch.tensor([4, 1]), torch.tensor([0, 2])))
    assert torch.equal(logits[3], before[3])
    forced = logits[[4, 0, 1, 2]]
    assert forced.argmax(1).tolist() == [2, 2, 0, 0]
    assert forced.softmax(1).max(1).values.tolist() == [1.0] * 4


def test_both_rows_of_twins_are_given_the_blend_and_no_other_row_is_touched() -> None:
    logits = torch.randn(5, 7)
    before = logits.clone()
    rows = torch.tensor([4, 1]), torch.tensor([0, 2])
    mixture = Mixture.of(*rows, torch.tensor([0.6, 1.0]))
    blended = mixture.of_logits(logits)
    mixture.write(logits, rows)
    assert torch.equal(logits[3], before[3])
    assert torch.equal(logits[[4, 1]], blended)
    assert torch.equal(logits[[0, 2]], blended)
