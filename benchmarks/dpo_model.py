"""The model that `benchmarks.dpo` trains: written as a folder, and what a step takes of it by arithmetic."""

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch

from demo.worlds import SHAPES
from tools.architecture import CLIP_L_336, Decoder, Llava, Sight, Tower
from tools.memory import PROMPT_TOKENS, layer_bytes_per_token, training

LLAVA = Llava(
    Decoder(layers=28, hidden=1024, heads=16, kv_heads=16, head_dim=64, intermediate=3072, vocabulary=32064),
    CLIP_L_336.sight,
)


@dataclass(frozen=True)
class Setting:
    batch_size: int
    gradient_checkpointing: bool


def write_model(folder: Path) -> None:
    """LLAVA with drawn weights in bf16, and a processor around the demo's tokenizer, as Hugging Face keeps them."""
    from transformers import AutoModelForImageTextToText, CLIPVisionConfig, LlamaConfig, LlavaConfig

    from demo.models.mllm import new_processor
    from demo.models.tokenizer import IMAGE

    decoder, sight = LLAVA.decoder, LLAVA.sight
    processor = new_processor(SHAPES)
    processor.image_processor.size = {"shortest_edge": sight.image_size}
    processor.image_processor.crop_size = {"height": sight.image_size, "width": sight.image_size}
    processor.patch_size = sight.patch
    processor.tokenizer.model_max_length = 2048
    tokenizer = processor.tokenizer
    text = LlamaConfig(
        num_hidden_layers=decoder.layers,
        hidden_size=decoder.hidden,
        num_attention_heads=decoder.heads,
        num_key_value_heads=decoder.kv_heads,
        head_dim=decoder.head_dim,
        intermediate_size=decoder.intermediate,
        vocab_size=decoder.vocabulary,
        max_position_embeddings=tokenizer.model_max_length,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    vision = CLIPVisionConfig(
        num_hidden_layers=sight.tower.layers,
        hidden_size=sight.tower.hidden,
        intermediate_size=sight.tower.intermediate,
        num_attention_heads=16,
        image_size=sight.image_size,
        patch_size=sight.patch,
    )
    config = LlavaConfig(
        text_config=text,
        vision_config=vision,
        image_token_index=tokenizer.convert_tokens_to_ids(IMAGE),
        vision_feature_layer=-2,
        image_seq_length=sight.patches,
    )
    torch.manual_seed(0)
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        model = AutoModelForImageTextToText.from_config(config, dtype=torch.bfloat16)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)


def numbers_of(folder: Path) -> Llava:
    """The architecture of the LLaVA in `folder`."""
    config = json.loads((folder / "config.json").read_text())
    text, vision = config["text_config"], config["vision_config"]
    decoder = Decoder(
        layers=text["num_hidden_layers"],
        hidden=text["hidden_size"],
        heads=text["num_attention_heads"],
        kv_heads=text["num_key_value_heads"],
        head_dim=text["head_dim"],
        intermediate=text["intermediate_size"],
        vocabulary=text["vocab_size"],
    )
    tower = Tower(vision["num_hidden_layers"], vision["hidden_size"], vision["intermediate_size"])
    return Llava(decoder, Sight(tower, vision["image_size"], vision["patch_size"]))


def operations(model: Llava, lora_rank: int, sequence: int, scored: int, *, recomputed: bool) -> int:
    """Floating-point operations of a DPO step for one sequence of `sequence` tokens, `scored` of them the answer's.

    Both policy and reference read the image and the text; gradients go back through the language model to its
    activations and to the adapter's weights only, and with `recomputed` its layers run forward once more.
    """
    decoder = model.decoder
    forward = decoder.flops(sequence, scored)
    seen = model.flops(sequence - model.sight.patches, scored) - forward
    attention = 4 * decoder.layers * sequence**2 * decoder.heads * decoder.head_dim
    adapter = 2 * sequence * decoder.lora_parameters(lora_rank)
    again = decoder.flops(sequence, 0) + adapter if recomputed else 0
    return 2 * (seen + forward) + (forward + attention) + 3 * adapter + again


def arithmetic(
    model: Llava, lora_rank: int, setting: Setting, sequence: int, scored: int, seconds: float
) -> dict[str, float]:
    """Operations of one step, and their rate when it takes `seconds`."""

    def per_step(recomputed: bool) -> float:
        each = operations(model, lora_rank, sequence, scored, recomputed=recomputed)
        return 2 * setting.batch_size * each / 1e12

    once, all_of_it = per_step(recomputed=False), per_step(setting.gradient_checkpointing)
    return {
        "tflop_per_step": round(once, 4),
        "tflop_per_s": round(once / seconds, 4),
        "tflop_per_s_with_recomputation": round(all_of_it / seconds, 4),
    }


def predicted(model: Llava, lora_rank: int, setting: Setting, sequence: int) -> dict[str, float]:
    """The parts of the peak by `tools.memory`; without checkpointing every layer keeps its activations."""
    found = training(model, lora_rank, setting.batch_size, sequence - model.sight.patches - PROMPT_TOKENS)
    if not setting.gradient_checkpointing:
        kept = 2 * setting.batch_size * sequence * layer_bytes_per_token(model, lora_rank) * model.decoder.layers
        found = replace(found, kept_between_layers=kept, one_layer=0)
    return {name: round(size / 1e9, 3) for name, size in (asdict(found) | {"total": found.total}).items()}
