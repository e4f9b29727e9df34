"""The training benchmark on the demo's model: what it says of tokens, operations and memory is what happens."""

import json
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count

from benchmarks.dpo import Plan, Scenes, _recipe, results
from benchmarks.dpo_model import Setting, numbers_of, operations
from demo.worlds import IMAGE_SIDE
from pairs.settings import local_model
from trainer.run import Run
from trainer.snapshot import Snapshots


def _attention(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
    return sdpa_flop_count(query, key, value)


def _attention_backward(gradient: Any, query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
    return sdpa_backward_flop_count(gradient, query, key, value)


ON_A_CPU = {
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: _attention_backward,
}
"""torch itself counts the operations of attention on a GPU only."""
PLAN = Plan(local_model("demo", "mllm"), IMAGE_SIDE, answer_tokens=24, steps=3, warm_up=1, workers=0)


@pytest.mark.timeout(600)  # seconds where the machine is free
def test_settings_are_measured_each_in_a_process_of_its_own() -> None:
    found = results(PLAN, [2], side=256)
    assert [one["gradient_checkpointing"] for one in found["settings"]] == [True, False]
    for one in found["settings"]:
        # Start, "USER: Describe the image." around the image's 36 patches, "ASSISTANT:", the answer and its end.
        assert one["tokens_a_sequence"] == 1 + 2 + 36 + 4 + 2 + PLAN.answer_tokens + 1
        assert one["tokens_per_s"] > 0
        assert one["peak_gb"]["resident"] > one["predicted_gb"]["total"] > 0
        assert 0 < one["share_of_matrix_product"] <= one["share_with_recomputation"]
    assert json.loads(json.dumps(found)) == found


@pytest.mark.parametrize("is_recomputed", [False, True])
def test_operations_are_those_that_torch_counts(is_recomputed: bool, tmp_path: Path) -> None:
    from trainer.training import train

    setting = Setting(2, gradient_checkpointing=is_recomputed)
    plan = replace(PLAN, steps=1)
    snapshots = Snapshots(str(tmp_path / "snapshots"), str(tmp_path / "images"))
    snapshot = snapshots.take(Scenes(setting.batch_size, plan.image_side, plan.answer_tokens))
    recipe = _recipe(plan, setting)
    with FlopCounterMode(display=False, custom_mapping=ON_A_CPU) as counter:
        train(
            Run("counted", plan.base, None, snapshot, recipe),
            snapshots,
            tmp_path / "adapters",
            Console(file=StringIO()),
        )
    model = numbers_of(Path(plan.base))
    each = operations(model, recipe.lora_rank, 70, plan.answer_tokens, recomputed=is_recomputed)
    assert 2 * setting.batch_size * each == pytest.approx(counter.get_total_flops(), rel=0.01)
