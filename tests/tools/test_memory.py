"""The arithmetic of memory and operations, held against the models themselves: built without weights, and counted."""

import re
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from pairs.settings import Settings
from pairs.torchvision_cpu import declare_missing_ops
from tools.architecture import CLIP_L_336, LLAVA_7B, Decoder, Llava, Sight, Tower
from tools.memory import (
    ADAPTERS,
    SHARE_OF_A_GPU,
    TILE,
    kv_cache,
    layer_bytes_per_token,
    pairs_that_fit,
    serving,
    training,
)

declare_missing_ops()
import open_clip  # noqa: E402
from peft import LoraConfig, get_peft_model  # noqa: E402
from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration  # noqa: E402

SMALL = Llava(Decoder(3, 64, 4, 2, 16, 160, 90), Sight(Tower(2, 32, 128), image_size=48, patch=8))


def on_the_cpu(model: Any) -> Any:
    """The model in real memory, all of it nothing: what happens to lie there may be no place of an embedding."""
    model = model.to_empty(device="cpu")
    with torch.no_grad():
        for tensor in (*model.parameters(), *model.buffers()):
            tensor.zero_()
    return model


def built(of: Llava) -> Any:
    """transformers' model of these numbers, without weights. The last but one layer's hidden states are read, as
    LLaVA-1.5 does; the whole tower runs all the same.
    """
    decoder, sight = of.decoder, of.sight
    text = LlamaConfig(
        num_hidden_layers=decoder.layers,
        hidden_size=decoder.hidden,
        num_attention_heads=decoder.heads,
        num_key_value_heads=decoder.kv_heads,
        head_dim=decoder.head_dim,
        intermediate_size=decoder.intermediate,
        vocab_size=decoder.vocabulary,
    )
    vision = CLIPVisionConfig(
        num_hidden_layers=sight.tower.layers,
        hidden_size=sight.tower.hidden,
        intermediate_size=sight.tower.intermediate,
        num_attention_heads=sight.tower.hidden // 16,
        image_size=sight.image_size,
        patch_size=sight.patch,
    )
    config = LlavaConfig(text_config=text, vision_config=vision, image_token_id=1, tie_word_embeddings=False)
    with torch.device("meta"):
        return LlavaForConditionalGeneration._from_config(config, attn_implementation="eager")


def parameters(model: torch.nn.Module) -> int:
    return sum(one.numel() for one in model.parameters())


def operations(run: Callable[[], object]) -> int:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        run()
    return int(counter.get_total_flops())


def test_parameters_are_those_of_the_models() -> None:
    assert LLAVA_7B.parameters == parameters(built(LLAVA_7B)) == 7_063_427_072
    with torch.device("meta"):
        clip = open_clip.CLIP(**_open_clip_numbers())
    assert CLIP_L_336.parameters == parameters(clip)


def test_operations_are_those_that_torch_counts() -> None:
    model = on_the_cpu(built(SMALL))
    tokens = SMALL.sight.patches + 20
    ids = torch.full((1, tokens), 2)
    ids[0, : SMALL.sight.patches] = 1
    pixels = torch.zeros(1, 3, SMALL.sight.image_size, SMALL.sight.image_size)
    counted = operations(lambda: model(input_ids=ids, pixel_values=pixels, logits_to_keep=5))
    assert SMALL.flops(text_tokens=20, scored=5) == pytest.approx(counted, rel=0.01)
    with torch.device("meta"):
        clip = open_clip.CLIP(**_open_clip_numbers()).eval()
        image, text = torch.zeros(1, 3, 336, 336), torch.zeros(2, 77, dtype=torch.long)
        counted = operations(lambda: (clip.encode_image(image), clip.encode_text(text)))
    assert CLIP_L_336.flops(sentences=2) == pytest.approx(counted, rel=0.01)


@pytest.mark.parametrize("rank", [4, 16])
def test_a_layer_keeps_for_its_gradients_what_is_said_of_it(rank: int) -> None:
    tokens = 512
    model = on_the_cpu(built(SMALL)).to(torch.bfloat16).model.language_model
    model.set_attn_implementation("sdpa")
    model.requires_grad_(False)
    adapted = get_peft_model(model, LoraConfig(r=rank, target_modules="all-linear"))
    kept: dict[int, int] = {}
    weights = {one.untyped_storage().data_ptr() for one in model.parameters()}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    embedded = torch.zeros(1, tokens, SMALL.decoder.hidden, dtype=torch.bfloat16, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        held = adapted(inputs_embeds=embedded, use_cache=False)
    per_layer = sum(kept.values()) / SMALL.decoder.layers / tokens
    assert held.last_hidden_state.requires_grad
    assert layer_bytes_per_token(SMALL, rank) == pytest.approx(per_layer, rel=0.1)


def test_memory_adds_up() -> None:
    served = serving(LLAVA_7B, CLIP_L_336, answer_tokens=100)
    assert served.weights == 2 * 7_063_427_072
    assert served.kv_per_token == 2**19
    assert served.kv_per_pair == (3 * 140 + 2 * 576) * 2**19
    alone, sharded = (training(LLAVA_7B, 16, 2, 100, shards) for shards in (1, 4))
    assert alone.adapter == 16 * LLAVA_7B.decoder.lora_parameters(16) == 16 * 39_976_960
    assert sharded.adapter == alone.adapter // 4
    assert alone.weights // 4 < sharded.weights < alone.weights // 3
    assert alone.total - alone.weights - alone.adapter == sharded.total - sharded.weights - sharded.adapter


def test_the_contexts_with_the_image_have_it_in_memory_once() -> None:
    """In blocks of 16: twice 616 + 100 tokens, once 40 + 100; of the first two 608 are the same."""
    served = serving(LLAVA_7B, CLIP_L_336, answer_tokens=100)
    assert served.kv_per_pair_shared == (2 * 45 + 9 - 38) * 16 * served.kv_per_token
    assert served.kv_per_pair - 608 * served.kv_per_token < served.kv_per_pair_shared < served.kv_per_pair


def test_as_many_pairs_fit_as_there_is_room_for() -> None:
    gpu = 80 * 10**9
    pairs = pairs_that_fit(LLAVA_7B, gpu, lora_rank=128, answer_tokens=256)
    pair = serving(LLAVA_7B, CLIP_L_336, answer_tokens=256).kv_per_pair_shared
    assert pairs * pair <= kv_cache(LLAVA_7B, gpu, lora_rank=128) < (pairs + 1) * pair
    assert pairs_that_fit(LLAVA_7B, gpu // 5, lora_rank=128, answer_tokens=256) == 0


def test_logits_come_a_tile_at_a_time_in_trl() -> None:
    from trl.kernels.chunked_logprob import TOKEN_CHUNK_SIZE
    from trl.trainer.utils import _CHUNKED_LOGPROB_CHUNK_SIZE

    assert (TOKEN_CHUNK_SIZE, _CHUNKED_LOGPROB_CHUNK_SIZE) == TILE
    one, many = (training(LLAVA_7B, 16, pairs, 256).logits for pairs in (1, 16))
    assert one == 512 * (32_064 * 2 + 4096 * 6)
    assert many == 4096 * 32_064 * 2 + 8192 * 4096 * 6


def test_what_vllm_takes_by_itself_is_what_is_counted_on() -> None:
    assert Settings.model_fields["max_loras"].default == ADAPTERS
    vllm = find_spec("vllm")
    assert vllm is not None
    assert vllm.origin is not None
    config = Path(vllm.origin).with_name("config") / "cache.py"
    [share] = re.findall(r"gpu_memory_utilization: float = Field\(default=([\d.]+)", config.read_text())
    assert float(share) == SHARE_OF_A_GPU


def _open_clip_numbers() -> dict[str, Any]:
    numbers = dict(open_clip.get_model_config("ViT-L-14-336"))
    return {name: numbers[name] for name in ("embed_dim", "vision_cfg", "text_cfg")}
