"""How far a policy has gone from its base: the KL divergence of next-token distributions on a fixed set of answers."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pairs.errors import JudgefreeError
from pairs.torchvision_cpu import declare_missing_ops

declare_missing_ops()  # before transformers imports torchvision
import torch  # noqa: E402
from peft import PeftModel  # noqa: E402
from PIL import Image  # noqa: E402
from transformers import AutoModelForImageTextToText, AutoProcessor  # noqa: E402
from trl.trainer.dpo_trainer import DataCollatorForVisionPreference  # noqa: E402

_BATCH = 8


class UnreadableAnswers(JudgefreeError):
    type, title = "unreadable-answers", "The answers cannot be read"


@dataclass(frozen=True)
class Probe:
    """An image file, what was asked about it, and an answer."""

    image: Path
    prompt: str
    text: str


def read_probes(file: Path, model: str, limit: int) -> list[Probe]:
    """The first `limit` answers of `model` in a file that `judgefree evaluate --answers` wrote; empty ones left out.

    Raises UnreadableAnswers where there is none.
    """
    try:
        rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
        found = [Probe(Path(row["image"]), row["prompt"], row["text"]) for row in rows if row["model"] == model]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UnreadableAnswers(f"{file} is no file of answers as `judgefree evaluate --answers` writes it.") from error
    probes = [probe for probe in found if probe.text.strip()][:limit]
    if not probes:
        raise UnreadableAnswers(f"{file} has no answer of {model}.")
    return probes


@torch.inference_mode()
def kl_to_base(base: str, adapter: Path, probes: Sequence[Probe]) -> float:
    """Mean over the probes' answer tokens of KL(policy || base), in nats, over the whole vocabulary.

    Both are conditioned on the image, the prompt and the answer so far, so it is exact and draws nothing.
    """
    collate = DataCollatorForVisionPreference(AutoProcessor.from_pretrained(base))
    dtype = torch.bfloat16 if torch.cuda.is_available() else torch.float32
    model = PeftModel.from_pretrained(AutoModelForImageTextToText.from_pretrained(base, dtype=dtype), adapter)
    model = model.to("cuda" if torch.cuda.is_available() else "cpu").eval()
    total, tokens = 0.0, 0
    for start in range(0, len(probes), _BATCH):
        batch = collate([_row(probe) for probe in probes[start : start + _BATCH]])
        is_answer = batch.pop("completion_mask")[:, 1:].bool().to(model.device)
        given = {name: value.to(model.device) for name, value in batch.items()}
        policy = model(**given).logits[:, :-1][is_answer].float().log_softmax(-1)
        with model.disable_adapter():
            reference = model(**given).logits[:, :-1][is_answer].float().log_softmax(-1)
        total += float((policy.exp() * (policy - reference)).sum())
        tokens += len(policy)
    return total / tokens


def _row(probe: Probe) -> dict[str, Any]:
    """The probe as a preference of an answer over itself, which is what the collator takes."""
    answer = [{"role": "assistant", "content": probe.text}]
    asked = [{"role": "user", "content": probe.prompt}]
    with Image.open(probe.image) as image:
        return {"images": [image.convert("RGB")], "prompt": asked, "chosen": answer, "rejected": list(answer)}
