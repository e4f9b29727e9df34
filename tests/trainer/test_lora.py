"""What is adapted: the language model of every family that is served here, and nothing that sees."""

import re
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from pairs.settings import local_model
from pairs.torchvision_cpu import declare_missing_ops

declare_missing_ops()
from peft import LoraConfig, PeftModel, get_peft_model  # noqa: E402
from transformers import (  # noqa: E402
    AutoConfig,
    AutoModelForImageTextToText,
    AutoProcessor,
    CLIPVisionConfig,
    CLIPVisionModel,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
)

from tests.mllm.families import FAMILIES  # noqa: E402
from trainer.lora import NoTargets, keep_gradients_in_decoder, target_pattern  # noqa: E402

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


@pytest.fixture(scope="module", params=["llava", "qwen2_5_vl"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    if request.param == "llava":
        return local_model("demo", "mllm")
    made = tmp_path_factory.mktemp(request.param)
    FAMILIES[request.param].save(made, seed=1)
    return str(made)


def adapted(folder: str, *, is_cut: bool) -> PeftModel:
    """The model with LoRA under gradient checkpointing, as it is trained; all the rest takes gradients too, to show
    where they come."""
    base = AutoModelForImageTextToText.from_pretrained(folder)
    torch.manual_seed(0)
    lora = LoraConfig(r=4, target_modules=target_pattern(base), init_lora_weights=False)
    model: PeftModel = get_peft_model(base, lora).requires_grad_().train()
    base.gradient_checkpointing_enable()
    base.enable_input_require_grads()
    if is_cut:
        keep_gradients_in_decoder(base)
    return model


def batch_of(folder: str, *, with_image: bool) -> dict[str, Any]:
    pixels = torch.rand(48, 48, 3, generator=torch.Generator().manual_seed(0))
    image = Image.fromarray((255 * pixels).byte().numpy())
    parts = [*([{"type": "image", "image": image}] if with_image else []), {"type": "text", "text": "Describe it."}]
    batch: dict[str, Any] = AutoProcessor.from_pretrained(folder).apply_chat_template(
        [{"role": "user", "content": parts}], tokenize=True, return_dict=True, return_tensors="pt"
    )
    return {**batch, "labels": batch["input_ids"]}


def gradients(model: PeftModel, loss: Tensor) -> dict[str, Tensor]:
    loss.backward()
    return {name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None}


def is_before_decoder(name: str) -> bool:
    return "embed_tokens" in name or ("language_model" not in name and "lm_head" not in name)


@pytest.mark.parametrize("with_image", [True, False])
def test_gradients_of_lora_are_those_of_the_whole_model_and_none_come_before_the_decoder(
    folder: str, with_image: bool
) -> None:
    batch = batch_of(folder, with_image=with_image)
    whole, cut = [
        gradients(model, model(**batch).loss) for model in (adapted(folder, is_cut=is_cut) for is_cut in (False, True))
    ]
    inside = {name for name in whole if not is_before_decoder(name)}
    assert cut.keys() == inside < whole.keys()
    assert any("vis" in name for name in whole) == with_image
    for name in inside:
        torch.testing.assert_close(cut[name], whole[name], msg=name)
    assert all(cut[name].abs().max() > 0 for name in inside if "lora_" in name)


def test_ids_and_embeddings_by_place_reach_the_decoder_too(folder: str) -> None:
    model = adapted(folder, is_cut=True)
    decoder = model.get_base_model().get_decoder()
    ids = torch.arange(8)[None]
    embeddings = decoder.get_input_embeddings()(ids)
    by_ids = decoder(ids).last_hidden_state
    by_place = decoder(None, None, None, None, embeddings).last_hidden_state
    torch.testing.assert_close(by_place, by_ids)
    assert not any(is_before_decoder(name) for name in gradients(model, by_place.sum()))
