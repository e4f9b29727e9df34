"""The margin-aware loss against one computed by hand, and TRL's own loss where it has no weight."""

from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor

from pairs.settings import local_model
from pairs.torchvision_cpu import declare_missing_ops

declare_missing_ops()
from peft import LoraConfig  # noqa: E402
from transformers import AutoModelForImageTextToText, AutoProcessor  # noqa: E402
from trl import DPOConfig  # noqa: E402

from trainer.lora import target_pattern  # noqa: E402
from trainer.preference import MarginCollator, MarginDPOTrainer, normalised  # noqa: E402

MARGINS = [0.05, 0.2, -0.1, None]
MEAN = 0.0625  # of max(0, margin)
BETA, GAMMA = 0.1, 0.5


def rows() -> list[dict[str, Any]]:
    image = Image.new("RGB", (48, 48), (20, 40, 200))
    return [
        {
            "images": [image],
            "prompt": [{"role": "user", "content": "Describe the image."}],
            "chosen": [{"role": "assistant", "content": f"There is a red ring {place}."}],
            "rejected": [{"role": "assistant", "content": f"A blue disc is {place} and a red cross is on the right."}],
            "margin": margin,
        }
        for place, margin in zip(["at the top", "in the centre", "on the left", "at the bottom"], MARGINS, strict=True)
    ]


def trainer_of(folder: Path, gamma: float, **changes: Any) -> MarginDPOTrainer:
    base = local_model("demo", "mllm")
    model, processor = AutoModelForImageTextToText.from_pretrained(base), AutoProcessor.from_pretrained(base)
    arguments = {"beta": BETA, "bf16": False, "use_cpu": True, "gradient_checkpointing": False, "report_to": []}
    trainer = MarginDPOTrainer(
        model=model,
        args=DPOConfig(output_dir=str(folder), remove_unused_columns=False, **(arguments | changes)),
        data_collator=MarginCollator(processor),
        train_dataset=_dataset(),
        processing_class=processor,
        peft_config=LoraConfig(r=4, target_modules=target_pattern(model)),
        gamma=gamma,
        mean_margin=MEAN,
    )
    torch.manual_seed(0)
    for name, weight in trainer.model.named_parameters():  # LoRA starts at nothing: the policy would be the reference
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.05)
    return trainer


def _dataset() -> Any:
    from datasets import Dataset

    return Dataset.from_list([{"index": index} for index in range(4)]).with_transform(
        lambda columns: {name: [rows()[index][name] for index in columns["index"]] for name in rows()[0]}
    )


def log_probability(model: Any, batch: dict[str, Any]) -> Tensor:
    """[2 pairs]: the summed log-probability of each answer, computed from the plain logits."""
    given = {name: batch[name] for name in ("input_ids", "attention_mask", "pixel_values")}
    with torch.no_grad():
        logits = model.get_base_model()(**given, use_cache=False, logits_to_keep=0).logits
    each = logits[:, :-1].log_softmax(-1).gather(-1, batch["input_ids"][:, 1:, None])[..., 0]
    return (each * batch["completion_mask"][:, 1:]).sum(1)


@pytest.mark.parametrize("gamma", [0.0, GAMMA])
def test_the_loss_is_the_one_computed_by_hand(tmp_path: Path, gamma: float) -> None:
    trainer = trainer_of(tmp_path, gamma)
    batch = trainer.data_collator(rows())
    policy = log_probability(trainer.model, batch)
    with trainer.model.disable_adapter():
        reference = log_probability(trainer.model, batch)
    chosen, rejected = (policy - reference).chunk(2)
    m = torch.tensor([0.05, 0.2, 0.0, 0.0]) / MEAN
    by_hand = -torch.nn.functional.logsigmoid(BETA * (chosen - rejected) - gamma * m).mean()
    assert (chosen - rejected).abs().max() > 0.1
    assert trainer.compute_loss(trainer.model, batch).item() == pytest.approx(by_hand.item(), abs=1e-5)


def test_a_sure_pair_must_be_told_apart_by_more(tmp_path: Path) -> None:
    trainer = trainer_of(tmp_path, GAMMA)
    batch = trainer.data_collator(rows())
    sure = batch | {"margins": batch["margins"] + 1}
    assert trainer.compute_loss(trainer.model, sure) > trainer.compute_loss(trainer.model, batch)


@pytest.mark.parametrize("loss", ["hinge", "ipo", "robust"])
def test_other_losses_of_trl_take_the_margin_too(tmp_path: Path, loss: str) -> None:
    trainer = trainer_of(tmp_path, GAMMA, loss_type=[loss], label_smoothing=0.1 if loss == "robust" else 0.0)
    batch = trainer.data_collator(rows())
    with_margin = trainer.compute_loss(trainer.model, batch).item()
    without = trainer.compute_loss(trainer.model, batch | {"margins": torch.zeros(4)}).item()
    assert with_margin != pytest.approx(without, abs=1e-4)


def test_margins_are_in_units_of_their_mean() -> None:
    margins = torch.tensor([0.1, -0.3, 0.3])
    assert normalised(margins, 0.2).tolist() == pytest.approx([0.5, 0.0, 1.5])
    assert normalised(margins, 0.0).tolist() == [0.0, 0.0, 0.0]
