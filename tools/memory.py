"""What a GPU must hold to serve and to train a LLaVA-like model, computed from its architecture's numbers.

    python -m tools.memory [--pairs 4] [--lora-rank 128] [--answer-tokens 256] [--gpus 4]

Prints the tables of docs/recipes/llava-1.5-7b.md. A GB is 10^9 bytes. Left out: the CUDA context and the libraries'
own buffers (about 1 GB a process), the vision tower's transient activations (it is frozen and runs without gradients),
and what the allocator cannot use between blocks.
"""

import argparse
from dataclasses import dataclass

from tools.architecture import CLIP_L_336, LLAVA_7B, Clip, Llava

BF16, FP32 = 2, 4
"""Bytes of a number."""
ADAM = 2 * FP32
"""Bytes of Adam's two moments of a parameter."""
PROMPT_TOKENS = 40
"""Of the chat template and a short question, without the image; a generous round figure."""
TILE = 4096, 32768
"""Scored tokens and tokens of the vocabulary whose logits TRL has at a time, at most."""
BLOCK_TOKENS = 16
"""vLLM's on a GPU: KV cache is given out, and shared, in whole blocks."""
SHARE_OF_A_GPU = 0.92
"""What vLLM takes where no --gpu-memory-utilization says otherwise."""
BESIDE = 4 * 10**9
"""Bytes that vLLM needs beside weights, adapters and KV cache, for activations, CUDA graphs and its context; a generous
round figure."""
ADAPTERS = 2
"""For which vLLM keeps room on the GPU: `max_loras` as it comes."""
CARDS = {"80 GB": (84.9, 128), "40 GB": (42.3, 128), "24 GB (an L4)": (23.6, 16)}
"""Of each GPU, by what it is called, the GB that a program is told of, and the largest rank of an adapter there."""


@dataclass(frozen=True)
class Serving:
    """Bytes on the GPU of vLLM, and of the verifier beside it."""

    weights: int
    kv_per_token: int
    kv_per_pair: int
    kv_per_pair_shared: int
    verifier: int


@dataclass(frozen=True)
class Training:
    """Bytes on each GPU of a DPO step."""

    weights: int
    adapter: int
    kept_between_layers: int
    one_layer: int
    logits: int

    @property
    def total(self) -> int:
        return self.weights + self.adapter + self.kept_between_layers + self.one_layer + self.logits


def serving(model: Llava, clip: Clip, answer_tokens: int) -> Serving:
    """bf16 weights; fp16 for the verifier. A pair in flight has three contexts: the honest answer's and the grounded
    twin's with the image, the blind twin's without. Where the prefix cache is on, the first two share the whole blocks
    of image and prompt but for the last two tokens.
    """
    decoder = model.decoder
    per_token = 2 * decoder.layers * decoder.kv_heads * decoder.head_dim * BF16
    tokens = 3 * (PROMPT_TOKENS + answer_tokens) + 2 * model.sight.patches
    bare, prompt = PROMPT_TOKENS, model.sight.patches + PROMPT_TOKENS
    blocks = 2 * _blocks(prompt + answer_tokens) + _blocks(bare + answer_tokens) - (prompt - 2) // BLOCK_TOKENS
    shared = blocks * BLOCK_TOKENS * per_token
    return Serving(BF16 * model.parameters, per_token, tokens * per_token, shared, BF16 * clip.parameters)


def kv_cache(model: Llava, gpu: int, lora_rank: int) -> int:
    """The bytes that vLLM has for it on a GPU of `gpu` bytes on which nothing else runs."""
    adapters = ADAPTERS * BF16 * model.decoder.lora_parameters(lora_rank)
    return int(SHARE_OF_A_GPU * gpu) - BF16 * model.parameters - adapters - BESIDE


def pairs_that_fit(model: Llava, gpu: int, lora_rank: int, answer_tokens: int) -> int:
    """So many pairs in flight have their KV cache there at their full length, with the prefix cache on."""
    pair = serving(model, CLIP_L_336, answer_tokens).kv_per_pair_shared
    return max(0, kv_cache(model, gpu, lora_rank) // pair)


def _blocks(tokens: int) -> int:
    return -(-tokens // BLOCK_TOKENS)


def training(model: Llava, lora_rank: int, pairs: int, answer_tokens: int, shards: int = 1) -> Training:
    """DPO of `pairs` at a time on each GPU: LoRA in fp32 over a bf16 base, gradients checkpointed at every layer.

    A pair is two sequences, of image, prompt and answer. Between the layers the hidden state of each is kept; one layer
    at a time is run again for its gradients, and keeps what `layer_bytes_per_token` says. Of the answers' logits there
    is a `TILE` in bf16 at a time, and of the hidden states before them the gradient in fp32. The reference is the same
    model without the adapter, run without gradients, so it adds nothing. `shards`: the GPUs that share weights and
    adapter under FSDP, which gathers one layer more at a time.
    """
    decoder = model.decoder
    tokens = 2 * pairs * (model.sight.patches + PROMPT_TOKENS + answer_tokens)
    scored = 2 * pairs * answer_tokens
    tile = min(scored, TILE[0]) * min(decoder.vocabulary, TILE[1])
    layer = BF16 * sum(inputs * outputs for inputs, outputs in decoder.linears)
    gathered = 2 * layer if shards > 1 else 0  # the layer that runs, and the next one, on its way
    return Training(
        weights=BF16 * model.parameters // shards + gathered,
        adapter=decoder.lora_parameters(lora_rank) * (2 * FP32 + ADAM) // shards,
        kept_between_layers=decoder.layers * tokens * decoder.hidden * BF16,
        one_layer=tokens * layer_bytes_per_token(model, lora_rank),
        logits=tile * BF16 + scored * decoder.hidden * (BF16 + FP32),
    )


def layer_bytes_per_token(model: Llava, lora_rank: int) -> int:
    """What autograd keeps of a token in one decoder layer with LoRA on its seven linear maps.

    In bf16: of the attention the queries, keys, values and the result; of the MLP gate, its activation, up and their
    product; of each of two norms its normalised input. In fp32: of each norm its input as it computes with it; the
    inputs of the adapters, which compute in fp32 (q, k, v share one, and so do gate and up), and their inner vectors.
    """
    decoder = model.decoder
    queries, keys = decoder.heads * decoder.head_dim, decoder.kv_heads * decoder.head_dim
    in_bf16 = 2 * queries + 2 * keys + 4 * decoder.intermediate + 2 * decoder.hidden
    adapters = 2 * decoder.hidden + queries + decoder.intermediate + len(decoder.linears) * lora_rank
    return BF16 * in_bf16 + FP32 * (2 * decoder.hidden + adapters)


def tables(lora_rank: int, pairs: int, answer_tokens: int, gpus: int) -> str:
    """The figures for LLaVA-1.5-7B as two Markdown tables."""
    served = serving(LLAVA_7B, CLIP_L_336, answer_tokens)
    lines = [
        "| serving | |",
        "| --- | ---: |",
        f"| weights, bf16 ({LLAVA_7B.parameters / 1e9:.2f} B parameters) | {_gb(served.weights)} |",
        f"| KV cache of a token | {served.kv_per_token / 1e6:.2f} MB |",
        f"| KV cache of a pair in flight, answers of {answer_tokens} tokens | {_gb(served.kv_per_pair)} |",
        f"| the same, image and prompt shared by its two contexts with them | {_gb(served.kv_per_pair_shared)} |",
        f"| verifier, fp16 ({CLIP_L_336.parameters / 1e9:.2f} B parameters) | {_gb(served.verifier)} |",
        "",
        f"| vLLM alone on a GPU | it has | adapters of rank | KV cache | pairs, answers of {answer_tokens} tokens |",
        "| --- | ---: | ---: | ---: | ---: |",
        *(
            f"| {card} | {gb} GB | {rank} | {_gb(kv_cache(LLAVA_7B, int(gb * 1e9), rank))} "
            f"| {pairs_that_fit(LLAVA_7B, int(gb * 1e9), rank, answer_tokens)} |"
            for card, (gb, rank) in CARDS.items()
        ),
        "",
        f"| training, on each GPU | one GPU, or DDP | FSDP, {gpus} GPUs |",
        "| --- | ---: | ---: |",
    ]
    whole, shared = (training(LLAVA_7B, lora_rank, pairs, answer_tokens, shards) for shards in (1, gpus))
    adapter = LLAVA_7B.decoder.lora_parameters(lora_rank) / 1e6
    rows = (
        ("weights, bf16", "weights"),
        (f"LoRA of rank {lora_rank} ({adapter:.0f} M parameters), gradients and Adam, fp32", "adapter"),
        (f"hidden states between layers, {pairs} pairs", "kept_between_layers"),
        ("one layer run again", "one_layer"),
        ("logits", "logits"),
        ("together", "total"),
    )
    lines += [f"| {said} | {_gb(getattr(whole, name))} | {_gb(getattr(shared, name))} |" for said, name in rows]
    return "\n".join(lines)


def _gb(size: int) -> str:
    return f"{size / 1e9:.2f} GB"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=4, help="pairs on a GPU at a time (--batch-size)")
    parser.add_argument("--lora-rank", type=int, default=128)
    parser.add_argument("--answer-tokens", type=int, default=256)
    parser.add_argument("--gpus", type=int, default=4, help="that share the weights under FSDP")
    flags = parser.parse_args()
    print(tables(flags.lora_rank, flags.pairs, flags.answer_tokens, flags.gpus))  # noqa: T201 - its result


if __name__ == "__main__":
    main()
