"""Which modules of a vision-language model are adapted: the language model's linear layers, and nothing that sees."""

import re
from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn
from torch.utils._pytree import tree_map

from pairs.errors import JudgefreeError


class NoTargets(JudgefreeError):
    type, title = "no-lora-targets", "There is nothing to adapt"


def target_pattern(model: nn.Module, wanted: Sequence[str] = ()) -> str:
    """A regular expression, as PEFT's `target_modules` takes it, for the modules of `model` that are adapted.

    These are the linear layers of the decoder (`model.get_decoder()`), so the vision tower, the projector and the
    output head stay as they are; with `wanted`, those of them whose last name is among these (`q_proj`, ...). Raises
    NoTargets.
    """
    inside = _decoder_name(model)
    names = {
        name.rpartition(".")[2]
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and name.startswith(f"{inside}.")
    }
    absent = sorted(set(wanted) - names)
    if absent or not names:
        there = f"it has {', '.join(sorted(names))}" if names else "it has no linear layer"
        wrong = ", ".join(absent) or "linear layer"
        raise NoTargets(f"lora-targets: the language model of {type(model).__name__} has no {wrong}: {there}.")
    ends = "|".join(re.escape(name) for name in sorted(wanted or names))
    return rf"(?:.*\.)?{re.escape(inside)}\.(?:.*\.)?(?:{ends})"


def keep_gradients_in_decoder(model: Any) -> None:
    """Let no gradient pass from the decoder to what comes before it, of which nothing is trained.

    Gradient checkpointing has the embeddings of text and image require gradients (`enable_input_require_grads` of
    transformers); without this the vision tower would be computed twice and differentiated, for nothing. Whatever a
    family gives its decoder is cut: embeddings by place or by name, and features for its deeper layers.
    """

    def cut(_: nn.Module, args: tuple[Any, ...], named: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        return tree_map(_as_leaf, args), tree_map(_as_leaf, named)

    model.get_decoder().register_forward_pre_hook(cut, with_kwargs=True)


def _as_leaf(value: Any) -> Any:
    """A tensor that requires gradients as one that nothing came before; anything else as it is."""
    return value.detach().requires_grad_() if isinstance(value, Tensor) and value.requires_grad else value


def _decoder_name(model: Any) -> str:
    decoder: nn.Module | None = model.get_decoder() if hasattr(model, "get_decoder") else None
    found = [name for name, module in model.named_modules() if module is decoder and name]
    if decoder is None or not found:
        raise NoTargets(f"{type(model).__name__} has no language model of its own; give a vision-language model.")
    return str(found[0])
