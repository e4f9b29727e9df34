"""On a CPU, a slot of zeros behind vLLM's adapter slots, for the rows that have no adapter.

vLLM 0.32 gives such rows the slot -1. Its GPU kernels pass them over; its CPU build looks the slot up as it is, so they
get the last one, and as soon as so many adapters were loaded, the answers of an adapter.
"""

import vllm.lora.model_manager as vllm_adapters
from torch import nn
from vllm.lora.utils import from_layer, from_layer_logits_processor


def add_spare_slot() -> None:
    """Give every layer that takes adapters one slot more than vLLM fills; to be called before the model is loaded."""
    vllm_adapters.from_layer = _from_layer
    vllm_adapters.from_layer_logits_processor = _from_layer_logits_processor


def _from_layer(layer: nn.Module, max_loras: int, *others: object) -> nn.Module:
    made: nn.Module = from_layer(layer, max_loras + 1, *others)
    return made


def _from_layer_logits_processor(layer: nn.Module, head: nn.Module, max_loras: int, *others: object) -> nn.Module:
    made: nn.Module = from_layer_logits_processor(layer, head, max_loras + 1, *others)
    return made
