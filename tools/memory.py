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


@dataclass(frozen=True)
class Serving:
    """Bytes on the GPU of vLLM, and of the verifier beside it."""

    weights: int
    kv_per_token: int
    kv_per_pair: int
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
    twin's with the image, the blind twin's without.
    """
    decoder = model.decoder
    per_token = 2 * decoder.layers * decoder.kv_heads * decoder.head_dim * BF16
    tokens = 3 * (PROMPT_TOKENS + answer_tokens) + 2 * model.sight.patches
    return Serving(BF16 * model.parameters, per_token, tokens * per_token, BF16 * clip.parameters)


def training(model: Llava, lora_rank: int, pairs: int, answer_tokens: int, shards: int = 1) -> Training:
    """DPO of `pairs` at a time on each GPU: LoRA in fp32 over a bf16 base, gradients checkpointed at every layer.

    A pair is two sequences, of image, prompt and answer. Between the layers the hidden state of each is kept; one layer
    at a time is run again for its gradients, and keeps what `layer_bytes_per_token` says. A logit has its value and
    gradient in bf16 and its log-probability and gradient in fp32. The reference is the same model without the adapter,
    run without gradients, so it adds nothing. `shards`: the GPUs that share weights and adapter under FSDP, which
    gathers one layer more at a time.
    """
    decoder = model.decoder
    tokens = 2 * pairs * (model.sight.patches + PROMPT_TOKENS + answer_tokens)
    layer = BF16 * sum(inputs * outputs for inputs, outputs in decoder.linears)
    gathered = 2 * layer if shards > 1 else 0  # the layer that runs, and the next one, on its way
    return Training(
        weights=BF16 * model.parameters // shards + gathered,
        adapter=decoder.lora_parameters(lora_rank) * (2 * FP32 + ADAM) // shards,
        kept_between_layers=decoder.layers * tokens * decoder.hidden * BF16,
        one_layer=tokens * layer_bytes_per_token(model, lora_rank),
        logits=tokens * decoder.vocabulary * (2 * BF16 + 2 * FP32),
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
        f"| verifier, fp16 ({CLIP_L_336.parameters / 1e9:.2f} B parameters) | {_gb(served.verifier)} |",
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
