"""The Triton kernel of the blend against the same arithmetic in torch: on a GPU, or by Triton's interpreter.

Neither is there after `make setup`: requirements.lock leaves Triton out. `TRITON_INTERPRET=1` has it run on a CPU;
without, Triton compiles it for a GPU that need not be there.
"""

import os

import pytest
import torch

from workers.mllm.blend import Mixture, leave_only

pytest.importorskip("triton", reason="requirements.lock leaves Triton out, which has a gigabyte and no CPU build")

from workers.mllm import fused

IS_INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
running = pytest.mark.skipif(not torch.cuda.is_available() and not IS_INTERPRETED, reason="TRITON_INTERPRET=1 runs it")

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
RATIOS = (-2.0, -0.5, 0.0, 0.1, 0.6, 1.0, 1.5)


def twins_of(
    ratios: tuple[float, ...], vocab: int, padding: int = 0
) -> tuple[torch.Tensor, Mixture, tuple[torch.Tensor, torch.Tensor]]:
    """Logits, with one row of nobody's, the mixture and both rows of every twin."""
    generator = torch.Generator().manual_seed(5)
    logits = torch.randn(2 * len(ratios) + 1, vocab + padding, generator=generator)[:, :vocab]
    grounded, blind = torch.randperm(len(logits), generator=generator)[:-1].chunk(2)
    # As slices: a vocabulary of one token has no second and no third.
    logits[grounded[:4], 0], logits[blind[2:], 1:2] = -torch.inf, -torch.inf
    logits[grounded[0], 2:3], logits[blind[-1], 0] = torch.nan, torch.inf
    return logits, Mixture.of(grounded, blind, torch.tensor(ratios)), (grounded, blind)


def moved(mixture: Mixture) -> tuple[tuple[torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]:
    read, weight = mixture.read, mixture.weight
    return (read[0].to(DEVICE), read[1].to(DEVICE)), (weight[0].to(DEVICE), weight[1].to(DEVICE))


@pytest.mark.skipif(IS_INTERPRETED, reason="the interpreter stands in the compiler's place")
@pytest.mark.parametrize("has_second", [True, False])
def test_the_kernel_compiles_for_a_hopper_gpu_to_loads_and_stores_of_16_bytes(has_second: bool) -> None:
    import triton
    from triton.backends.compiler import GPUTarget  # type: ignore[import-not-found, unused-ignore]
    from triton.compiler import ASTSource  # type: ignore[import-not-found, unused-ignore]

    rows, values = ("grounded", "blind", "first", "second"), ("logits", "grounded_weight", "blind_weight", "out")
    kinds = dict.fromkeys(rows, "*i64") | dict.fromkeys(values, "*fp32")
    kinds |= dict.fromkeys(("vocab", "stride", "out_stride"), "i32")
    kinds |= dict.fromkeys(("HAS_SECOND", "BLOCK"), "constexpr")
    signature = {name: kinds[name] for name in fused._blend.arg_names}
    constants = {(11,): has_second, (12,): fused.BLOCK}
    aligned = {(position,): [["tt.divisibility", 16]] for position in range(11)}
    source = ASTSource(fused._blend, signature, constexprs=constants, attrs=aligned)
    made = triton.compile(source, target=GPUTarget("cuda", 90, 32), options={"num_warps": 8}).asm["ptx"]
    assert "ld.global.v4" in made
    assert "st.global.v4" in made


@running
@pytest.mark.parametrize("vocab", [1, 7, 4096, 10_001])
@pytest.mark.parametrize("padding", [0, 3])
def test_the_kernel_writes_what_torch_does_to_both_rows_and_to_no_other(vocab: int, padding: int) -> None:
    logits, mixture, rows = twins_of(RATIOS, vocab, padding)
    expected = logits.clone()
    mixture.write(expected, rows)
    found = logits.to(DEVICE)
    fused.blend(found, *moved(mixture), found, *(written.to(DEVICE) for written in rows))
    torch.testing.assert_close(found.cpu(), expected, equal_nan=True)
    for twin, ratio in enumerate(RATIOS):
        if ratio in {0.0, 1.0}:
            assert torch.equal(found[rows[1][twin]].cpu(), logits[rows[int(ratio)][twin]]), "to the last bit"


@running
def test_the_kernel_blends_into_rows_of_its_own_and_leaves_the_logits_as_they_are() -> None:
    logits, mixture, _ = twins_of(RATIOS, 5000)
    given = logits.to(DEVICE)
    blended = torch.empty(len(RATIOS), 5000, device=DEVICE)
    fused.blend(given, *moved(mixture), blended, torch.arange(len(RATIOS), device=DEVICE))
    torch.testing.assert_close(blended.cpu(), mixture.of_logits(logits), equal_nan=True)
    assert torch.equal(given.cpu().nan_to_num(), logits.nan_to_num())


@pytest.mark.skipif(DEVICE == "cpu", reason="torch's own way is the only one there")
def test_on_a_gpu_a_mixture_takes_the_kernel_and_tokens_are_left_alone_as_on_a_cpu() -> None:
    logits, mixture, rows = twins_of(RATIOS, 5000)
    expected, found = logits.clone(), logits.to(DEVICE)
    there = Mixture(*moved(mixture), is_convex=False)
    torch.testing.assert_close(there.of_logits(found).cpu(), mixture.of_logits(logits), equal_nan=True)
    written = rows[0].to(DEVICE), rows[1].to(DEVICE)
    there.write(found, written)
    mixture.write(expected, rows)
    torch.testing.assert_close(found.cpu(), expected, equal_nan=True)
    tokens = torch.arange(len(RATIOS))
    leave_only(tokens.to(DEVICE), found, written)
    leave_only(tokens, expected, rows)
    assert torch.equal(found.cpu().nan_to_num(), expected.nan_to_num())
