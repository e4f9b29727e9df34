"""The arithmetic of the blend and of the common draw."""

import torch

from workers.mllm.blend import Draw, blend, draw_tokens, gumbel_noise, only, warm


def draw_of(twins: int, temperature: float = 1.0, min_p: float = 0.0, seed: int = 0) -> Draw:
    return Draw(torch.full((twins,), temperature), torch.full((twins,), min_p), torch.arange(seed, seed + twins))


def test_blend_is_the_formula_row_by_row_and_exact_at_both_ends() -> None:
    logits = torch.randn(6, 11)
    grounded, blind = torch.tensor([0, 4, 2, 5]), torch.tensor([3, 1, 0, 5])
    ratios = torch.tensor([0.0, 1.0, 0.6, -0.5])
    blended = blend(logits, grounded, blind, ratios)
    assert torch.equal(blended[0], logits[0])
    assert torch.equal(blended[1], logits[1])
    torch.testing.assert_close(blended[2], 0.4 * logits[2] + 0.6 * logits[0])
    torch.testing.assert_close(blended[3], logits[5])


def test_noise_depends_on_seed_step_and_token_alone() -> None:
    seeds, steps = torch.tensor([3, 3, 4, -5]), torch.tensor([0, 1, 0, 7])
    noise = gumbel_noise(seeds, steps, 50)
    assert torch.equal(gumbel_noise(seeds.flip(0), steps.flip(0), 50), noise.flip(0))
    assert torch.equal(gumbel_noise(seeds, steps, 30), noise[:, :30])
    assert len({tuple(row.tolist()) for row in noise}) == 4
    assert noise.isfinite().all()


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


def test_forced_logits_leave_one_choice() -> None:
    forced = only(torch.tensor([2, 0]), 4)
    assert forced.argmax(1).tolist() == [2, 0]
    assert forced.softmax(1).max(1).values.tolist() == [1.0, 1.0]
