"""One training run: a snapshot and a recipe in, a LoRA adapter out. Interrupted at any time, the same run goes on."""

import json
import os
import shutil
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pairs.errors import JudgefreeError
from pairs.torchvision_cpu import declare_missing_ops
from trainer.card import card
from trainer.dataset import Split, split
from trainer.recipe import Recipe
from trainer.run import FACTS, UNFINISHED, Run
from trainer.snapshot import Snapshots

declare_missing_ops()  # before transformers imports torchvision
import torch  # noqa: E402
from peft import LoraConfig, PeftModel  # noqa: E402
from rich.console import Console  # noqa: E402
from transformers import AutoModelForImageTextToText, AutoProcessor, PrinterCallback  # noqa: E402
from transformers.integrations import TensorBoardCallback  # noqa: E402
from trl import DPOConfig  # noqa: E402

from trainer.checkpoints import Marks, last_whole  # noqa: E402
from trainer.lora import keep_gradients_in_decoder, target_pattern  # noqa: E402
from trainer.preference import MarginCollator, MarginDPOTrainer, forget_parent  # noqa: E402
from trainer.progress import Bar, Lines  # noqa: E402

METRICS, TENSORBOARD = "metrics.jsonl", "tensorboard"
_PACKAGES = ("judgefree", "torch", "transformers", "trl", "peft")


class OutOfMemory(JudgefreeError):
    type, title = "out-of-memory", "The device's memory is too small"


class BadModel(JudgefreeError):
    type, title = "bad-model", "The model cannot be trained"


def train(run: Run, snapshots: Snapshots, adapters: Path, console: Console) -> Path:
    """Train, and return the adapter's folder in `adapters`; a finished run is only looked up.

    Raises what `run.require_beginning` raises, NoTargets, BadModel, OutOfMemory, DamagedSnapshot, MissingImage. Every
    process of a distributed run calls it; the first one writes.
    """
    run.require_beginning(adapters)
    done, work = adapters / run.name, adapters / UNFINISHED / run.name
    if done.exists():
        return done
    work.mkdir(parents=True, exist_ok=True)
    _write(work / FACTS, {"run": run.identity()})
    data = split(snapshots, run.snapshot, work / "cache")
    os.environ["TENSORBOARD_LOGGING_DIR"] = str(work / TENSORBOARD)  # transformers takes it from nowhere else
    try:
        trainer = _trainer(run, data, work, console)
        with _bar(trainer):
            trainer.train(resume_from_checkpoint=_resume_from(work))
        held_out = trainer.evaluate(data.held_out) if len(data.held_out) else {}
    except torch.OutOfMemoryError as error:
        raise OutOfMemory(
            "The device ran out of memory: lower --batch-size and raise --accumulation by as much, or set "
            "--gradient-checkpointing."
        ) from error
    ready = work / "adapter"
    if trainer.is_world_process_zero():
        shutil.rmtree(ready, ignore_errors=True)
    trainer.save_model(str(ready))  # by every process: a sharded model must be gathered; the first one writes
    if trainer.is_world_process_zero():
        _finish(trainer, run, work, ready, done, held_out)
    trainer.accelerator.wait_for_everyone()
    return done


def _trainer(run: Run, data: Split, work: Path, console: Console) -> MarginDPOTrainer:
    recipe = run.recipe
    processor = _load(AutoProcessor, run.base)
    model = _load(AutoModelForImageTextToText, run.base, dtype=_dtype(recipe))
    lora = None
    if run.parent is not None:
        model = PeftModel.from_pretrained(model, run.parent, is_trainable=True)
    else:
        targets = target_pattern(model, recipe.lora_targets)
        lora = LoraConfig(r=recipe.lora_rank, lora_alpha=recipe.lora_alpha, target_modules=targets, lora_dropout=0.0)
    trainer = MarginDPOTrainer(
        model=model,
        args=_arguments(recipe, work),
        data_collator=MarginCollator(processor, max_length=recipe.max_length),
        train_dataset=data.train,
        processing_class=processor,
        peft_config=lora,
        callbacks=[Marks(), Lines(work / METRICS), *([TensorBoardCallback()] if recipe.tensorboard else [])],
        gamma=recipe.margin_gamma,
        mean_margin=run.snapshot.mean_margin,
    )
    keep_gradients_in_decoder(trainer.model.get_base_model())
    if run.parent is not None and recipe.reference == "base":
        forget_parent(trainer.model)
    trainer.remove_callback(PrinterCallback)
    if trainer.is_world_process_zero():
        trainer.add_callback(Bar(console))
    return trainer


def _arguments(recipe: Recipe, work: Path) -> DPOConfig:
    is_on_gpu = torch.cuda.is_available()
    losses = {recipe.loss: 1.0} | ({"sft": recipe.nll_weight} if recipe.nll_weight > 0 else {})
    return DPOConfig(
        output_dir=str(work),
        loss_type=list(losses),
        loss_weights=list(losses.values()),
        beta=recipe.beta,
        label_smoothing=recipe.label_smoothing,
        learning_rate=recipe.learning_rate,
        lr_scheduler_type=recipe.schedule,
        warmup_steps=recipe.warm_up,
        num_train_epochs=recipe.epochs,
        max_steps=recipe.steps or -1,
        per_device_train_batch_size=recipe.batch_size,
        per_device_eval_batch_size=recipe.batch_size,
        gradient_accumulation_steps=recipe.accumulation,
        max_length=recipe.max_length,
        bf16=_dtype(recipe) is torch.bfloat16,
        use_cpu=not is_on_gpu,
        gradient_checkpointing=is_on_gpu if recipe.gradient_checkpointing is None else recipe.gradient_checkpointing,
        dataloader_num_workers=recipe.workers,
        ddp_find_unused_parameters=False,  # every pair has an image, so every weight that is trained is used
        remove_unused_columns=False,
        logging_steps=recipe.log_every,
        save_steps=recipe.save_every,
        save_total_limit=2,
        report_to=[],
        disable_tqdm=True,
        seed=recipe.seed,
        data_seed=recipe.seed,
    )


def _dtype(recipe: Recipe) -> torch.dtype:
    if recipe.dtype == "auto":
        return torch.bfloat16 if torch.cuda.is_available() else torch.float32
    dtype: torch.dtype = getattr(torch, recipe.dtype)
    return dtype


def _load(kind: Any, base: str, **how: Any) -> Any:
    try:
        return kind.from_pretrained(base, **how)
    except (OSError, ValueError) as error:
        said = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise BadModel(f"{base} cannot be loaded as a vision-language model: {said}") from error


def _resume_from(work: Path) -> str | None:
    found = last_whole(work)
    return None if found is None else str(found)


def _bar(trainer: MarginDPOTrainer) -> Any:
    from contextlib import nullcontext

    bars = [one for one in trainer.callback_handler.callbacks if isinstance(one, Bar)]
    return bars[0] if bars else nullcontext()


def _finish(
    trainer: MarginDPOTrainer, run: Run, work: Path, ready: Path, done: Path, held_out: dict[str, float]
) -> None:
    """Put the adapter, its facts and its card in place: all at once, so that a folder in `adapters` is whole."""
    for stray in ready.glob("training_args.bin"):
        stray.unlink()
    shutil.copy(work / METRICS, ready / METRICS)
    if run.recipe.tensorboard:
        shutil.copytree(work / TENSORBOARD, ready / TENSORBOARD)
    facts = {
        "run": run.identity(),
        "name": run.name,
        "snapshot": asdict(run.snapshot),
        "steps": trainer.state.global_step,
        "held_out": held_out,
        "versions": {package: version(package) for package in _PACKAGES},
    }
    _write(ready / FACTS, facts)
    (ready / "README.md").write_text(card(facts), encoding="utf-8")
    ready.rename(done)
    shutil.rmtree(work)


def _write(path: Path, facts: dict[str, Any]) -> None:
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.write_text(json.dumps(facts, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    partial.replace(path)
