"""What is adapted: the language model of every family that is served here, and nothing that sees."""

import re

import pytest
from torch import nn

from pairs.settings import local_model
from pairs.torchvision_cpu import declare_missing_ops

declare_missing_ops()
from transformers import (  # noqa: E402
    AutoConfig,
    AutoModelForImageTextToText,
    CLIPVisionConfig,
    CLIPVisionModel,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
)

from trainer.lora import NoTargets, target_pattern  # noqa: E402

LAYERS = ("down_proj", "gate_proj", "k_proj", "o_proj", "q_proj", "up_proj", "v_proj")


def llava() -> nn.Module:
    return AutoModelForImageTextToText.from_config(AutoConfig.from_pretrained(local_model("demo", "mllm")))


def qwen() -> nn.Module:
    text = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "vocab_size": 128,
        "rope_scaling": {"type": "mrope", "mrope_section": [2, 3, 3]},
    }
    vision = {"depth": 2, "hidden_size": 32, "intermediate_size": 64, "num_heads": 2, "out_hidden_size": 32}
    return Qwen2_5_VLForConditionalGeneration(Qwen2_5_VLConfig(text_config=text, vision_config=vision))


@pytest.mark.parametrize("make", [llava, qwen])
def test_the_linear_layers_of_the_language_model_and_nothing_else(make: type[nn.Module]) -> None:
    model = make()
    adapted = [name for name, _ in model.named_modules() if re.fullmatch(target_pattern(model), name)]
    assert {name.rpartition(".")[2] for name in adapted} == set(LAYERS)
    assert all("language_model" in name for name in adapted)
    assert not any("vis" in name or "project" in name or "lm_head" in name for name in adapted)


def test_named_layers_alone_are_adapted_where_they_are_named() -> None:
    model = llava()
    pattern = target_pattern(model, ["q_proj", "v_proj"])
    adapted = {name.rpartition(".")[2] for name, _ in model.named_modules() if re.fullmatch(pattern, name)}
    assert adapted == {"q_proj", "v_proj"}


def test_a_layer_that_is_not_there_is_said_with_those_that_are() -> None:
    with pytest.raises(NoTargets, match=r"has no qkv_proj: it has .*q_proj"):
        target_pattern(llava(), ["qkv_proj"])


def test_a_model_without_a_language_model_is_said() -> None:
    tower = CLIPVisionModel(CLIPVisionConfig(hidden_size=48, intermediate_size=32, num_hidden_layers=1))
    with pytest.raises(NoTargets, match="give a vision-language model"):
        target_pattern(tower)
