"""Tiny models of several multimodal families, made of random weights: what vLLM serves of each, at its smallest.

A fixed seed and wide weights: the answers are nonsense, but each token depends on the image, the prompt and all tokens
before it, so that a mistake in any of them shows. Nothing is downloaded.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from torch import Tensor

from pairs.torchvision_cpu import declare_missing_ops

declare_missing_ops()

from transformers import GenerationConfig, PreTrainedTokenizerFast  # noqa: E402 - it imports torchvision

PAD, UNKNOWN, START, END = "<pad>", "<unk>", "<s>", "</s>"
WORDS = ["user", "assistant", ":", ".", "Describe", "the", "image", *(f"w{number}" for number in range(64))]

EMBEDDING_STD = 1.0
GAIN = 1.6
"""Standard deviation of a layer's output for inputs of unit variance: above 1, so that attention is not uniform."""
LOGIT_STD = 3.0


@dataclass(frozen=True)
class Family:
    """How a tiny model of one family is made.

    image: what the chat template writes for an image part; specials: further special tokens; attributes: names
    under which the processor looks some of them up; build: (model, processor) for a tokenizer.
    """

    name: str
    image: str
    specials: tuple[str, ...]
    build: Callable[[PreTrainedTokenizerFast], tuple[Any, Any]]
    attributes: tuple[tuple[str, str], ...] = ()

    def save(self, folder: Path, seed: int) -> None:
        """Write the Hugging Face folder that vLLM serves."""
        tokenizer = self._tokenizer()
        torch.manual_seed(seed)
        model, processor = self.build(tokenizer)
        scatter(model)
        model.generation_config = GenerationConfig(
            bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id, pad_token_id=0
        )
        model.save_pretrained(folder)
        processor.save_pretrained(folder)

    def _tokenizer(self) -> PreTrainedTokenizerFast:
        ids = {word: number for number, word in enumerate([PAD, UNKNOWN, START, END, *self.specials, *WORDS])}
        tokenizer = Tokenizer(models.WordLevel(ids, unk_token=UNKNOWN))
        tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
        tokenizer.decoder = decoders.WordPiece(prefix="##", cleanup=False)
        tokenizer.add_special_tokens([AddedToken(text, special=True) for text in (PAD, UNKNOWN, START, END)])
        tokenizer.add_special_tokens([AddedToken(text, special=True) for text in self.specials])
        return PreTrainedTokenizerFast(
            tokenizer_object=tokenizer,
            pad_token=PAD,
            unk_token=UNKNOWN,
            bos_token=START,
            eos_token=END,
            extra_special_tokens=dict(self.attributes),
            chat_template=self._chat_template(),
            model_max_length=512,
            clean_up_tokenization_spaces=False,
        )

    def _chat_template(self) -> str:
        part = f"{{% if part.type == 'image' %}}{self.image}{{% else %}}{{{{ part.text }}}}{{% endif %}}"
        parts = f"{{% for part in message.content %}}{part}{{% endfor %}}"
        message = f"{{{{ message.role + ' : ' }}}}{parts} . "
        return (
            f"{START}{{% for message in messages %}}{message}{{% endfor %}}"
            "{% if add_generation_prompt %}assistant :{% endif %}"
        )


@torch.no_grad()
def scatter(model: Any) -> None:
    """Random weights wide enough that answers vary: embeddings of unit variance, layers that keep or widen it."""
    for name, parameter in model.named_parameters():
        if parameter.dim() < 2:
            continue  # norms stay one, biases nought
        if "embed_tokens" in name:
            parameter.normal_(0, EMBEDDING_STD)
        elif "lm_head" in name:
            parameter.normal_(0, LOGIT_STD * _unit(parameter))
        else:
            parameter.normal_(0, GAIN * _unit(parameter))


def _unit(weight: Tensor) -> float:
    """The standard deviation that keeps the variance of what goes through a layer."""
    return float(weight[0].numel() ** -0.5)


SIDE, PATCH = 48, 6
IMAGE_TOKENS = (SIDE // PATCH // 2) ** 2
"""Every family merges patches two by two."""

LANGUAGE = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": 512,
    "tie_word_embeddings": False,
}


def _language(tokenizer: PreTrainedTokenizerFast) -> dict[str, Any]:
    return LANGUAGE | {
        "vocab_size": len(tokenizer),
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
    }


def _vision() -> dict[str, int]:
    return {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2}


def _qwen2_5_vl(tokenizer: PreTrainedTokenizerFast) -> tuple[Any, Any]:
    from transformers import (
        Qwen2_5_VLConfig,
        Qwen2_5_VLForConditionalGeneration,
        Qwen2_5_VLProcessor,
        Qwen2VLImageProcessor,
        Qwen2VLVideoProcessor,
    )

    ids = {name: tokenizer.convert_tokens_to_ids(text) for name, text in _QWEN_TOKENS.items()}
    config = Qwen2_5_VLConfig(
        text_config=_language(tokenizer)
        | {"rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [4, 6, 6]}},
        vision_config={
            "depth": 2,
            "hidden_size": 64,
            "intermediate_size": 128,
            "num_heads": 2,
            "patch_size": PATCH,
            "window_size": 4 * PATCH,
            "out_hidden_size": LANGUAGE["hidden_size"],
            "fullatt_block_indexes": [1],
        },
        **ids,
        tie_word_embeddings=False,
    )
    size = {"shortest_edge": SIDE * SIDE, "longest_edge": SIDE * SIDE}
    processor = Qwen2_5_VLProcessor(
        image_processor=Qwen2VLImageProcessor(patch_size=PATCH, size=size),
        tokenizer=tokenizer,
        video_processor=Qwen2VLVideoProcessor(patch_size=PATCH, size=size),
        chat_template=tokenizer.chat_template,
    )
    return Qwen2_5_VLForConditionalGeneration(config), processor


_QWEN_TOKENS = {
    "image_token_id": "<|image_pad|>",
    "video_token_id": "<|video_pad|>",
    "vision_start_token_id": "<|vision_start|>",
    "vision_end_token_id": "<|vision_end|>",
}


def _idefics3(tokenizer: PreTrainedTokenizerFast) -> tuple[Any, Any]:
    from transformers import (
        Idefics3Config,
        Idefics3ForConditionalGeneration,
        Idefics3ImageProcessor,
        Idefics3Processor,
    )

    config = Idefics3Config(
        text_config=_language(tokenizer) | {"model_type": "llama"},
        vision_config=_vision() | {"image_size": SIDE, "patch_size": PATCH},
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        pad_token_id=tokenizer.pad_token_id,
        scale_factor=2,
        tie_word_embeddings=False,
    )
    processor = Idefics3Processor(
        image_processor=Idefics3ImageProcessor(
            size={"longest_edge": 2 * SIDE}, max_image_size={"longest_edge": SIDE}, do_image_splitting=True
        ),
        tokenizer=tokenizer,
        image_seq_len=IMAGE_TOKENS,
        chat_template=tokenizer.chat_template,
    )
    return Idefics3ForConditionalGeneration(config), processor


def _internvl(tokenizer: PreTrainedTokenizerFast) -> tuple[Any, Any]:
    from transformers import (
        GotOcr2ImageProcessor,
        InternVLConfig,
        InternVLForConditionalGeneration,
        InternVLProcessor,
        InternVLVideoProcessor,
    )

    config = InternVLConfig(
        text_config=_language(tokenizer) | {"model_type": "qwen2"},
        vision_config=_vision()
        | {"image_size": [SIDE, SIDE], "patch_size": [PATCH, PATCH], "layer_scale_init_value": 1.0},
        image_token_id=tokenizer.convert_tokens_to_ids("<IMG_CONTEXT>"),
        image_seq_length=IMAGE_TOKENS,
        downsample_ratio=0.5,
        tie_word_embeddings=False,
    )
    size = {"height": SIDE, "width": SIDE}
    processor = InternVLProcessor(
        image_processor=GotOcr2ImageProcessor(size=size, crop_to_patches=True, max_patches=4),
        tokenizer=tokenizer,
        video_processor=InternVLVideoProcessor(size=size),
        image_seq_length=IMAGE_TOKENS,
        chat_template=tokenizer.chat_template,
    )
    return InternVLForConditionalGeneration(config), processor


FAMILIES = {
    family.name: family
    for family in (
        Family(
            "qwen2_5_vl",
            image="<|vision_start|><|image_pad|><|vision_end|>",
            specials=tuple(_QWEN_TOKENS.values()),
            build=_qwen2_5_vl,
        ),
        Family(
            "idefics3",
            image="<image>",
            specials=(
                "<image>",
                "<fake_token_around_image>",
                "<end_of_utterance>",
                "<global-img>",
                *(f"<row_{row}_col_{column}>" for row in (1, 2) for column in (1, 2)),
                "\n",
            ),
            build=_idefics3,
        ),
        Family(
            "internvl",
            image="<IMG_CONTEXT>",
            specials=("<img>", "</img>", "<IMG_CONTEXT>", "<video>"),
            attributes=(
                ("start_image_token", "<img>"),
                ("end_image_token", "</img>"),
                ("context_image_token", "<IMG_CONTEXT>"),
                ("video_token", "<video>"),
            ),
            build=_internvl,
        ),
    )
}
