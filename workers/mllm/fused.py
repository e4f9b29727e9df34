"""The blend as one Triton kernel, for GPUs: one pass over memory, where `workers.mllm.blend` makes seven.

Triton comes with torch's CUDA build and not with its CPU build: only `workers.mllm.blend` imports this module, and only
for logits on a GPU.
"""

import torch
import triton  # type: ignore[import-not-found, import-untyped, unused-ignore]
import triton.language as tl  # type: ignore[import-not-found, import-untyped, unused-ignore]
from torch import Tensor

BLOCK = 4096
"""Tokens of the vocabulary that one program blends."""


@triton.jit  # type: ignore[misc, untyped-decorator, unused-ignore]
def _blend(  # type: ignore[no-untyped-def] # Triton takes no annotations but its own
    logits,
    grounded,
    blind,
    grounded_weight,
    blind_weight,
    out,
    first,
    second,
    vocab,
    stride,
    out_stride,
    HAS_SECOND: tl.constexpr,  # noqa: N803 - Triton's way of writing a constant
    BLOCK: tl.constexpr,  # noqa: N803
):
    twin = tl.program_id(1)
    tokens = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    is_token = tokens < vocab
    g = tl.load(logits + tl.load(grounded + twin) * stride + tokens, is_token)
    b = tl.load(logits + tl.load(blind + twin) * stride + tokens, is_token)
    blended = tl.load(grounded_weight + twin) * g + tl.load(blind_weight + twin) * b
    is_ruled_out = tl.minimum(g, b, propagate_nan=tl.PropagateNan.ALL) == -float("inf")
    blended = tl.where(is_ruled_out, -float("inf"), blended)
    tl.store(out + tl.load(first + twin) * out_stride + tokens, blended, is_token)
    if HAS_SECOND:
        tl.store(out + tl.load(second + twin) * out_stride + tokens, blended, is_token)


def blend(
    logits: Tensor, read: tuple[Tensor, Tensor], weight: tuple[Tensor, Tensor], out: Tensor, *write: Tensor
) -> None:
    """Write each twin's blend to one row of `out`, or to two: `Mixture.of_logits` says what it is.

    logits, out: [rows, vocab] float32, each row contiguous; they may be one tensor where no twin reads a row that
    another writes. read, write, each [twins] int64: rows of `logits` and of `out`. weight, each [twins, 1] float32.
    """
    vocab = logits.shape[1]
    grid = (triton.cdiv(vocab, BLOCK), len(write[0]))
    strides = logits.stride(0), out.stride(0)
    with torch.cuda.device_of(logits):  # type: ignore[no-untyped-call]
        _blend[grid](
            logits, *read, *weight, out, write[0], write[-1], vocab, *strides, len(write) > 1, BLOCK, num_warps=8
        )
