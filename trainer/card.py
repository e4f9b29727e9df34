"""An adapter's model card, made of facts: what it was trained on and how, what came of it, and with which versions."""

from collections.abc import Mapping, Sequence
from typing import Any


def card(facts: Mapping[str, Any], evaluations: Sequence[Mapping[str, Any]] = ()) -> str:
    """The card as Markdown, from `training.json` and, once there are any, the figures before and after it."""
    run, snapshot = facts["run"], facts["snapshot"]
    front = {"base_model": run["base"], "library_name": "peft", "pipeline_tag": "image-text-to-text"}
    parts = [
        "---\n" + "".join(f"{name}: {value}\n" for name, value in front.items()) + "tags: [dpo, lora, judgefree]\n---",
        f"# {facts['name']}",
        f"A LoRA adapter on `{run['base']}`, trained by judgefree in {facts['steps']} steps of DPO on "
        f"{snapshot['count'] - snapshot['held_out']} preference pairs that no judge has seen.",
        "## Data",
        _table(
            ("", ""),
            [
                ("snapshot", snapshot["sha256"]),
                ("pairs", f"{snapshot['count']}, of which {snapshot['held_out']} held out by image"),
                *((name, _counts(snapshot[name])) for name in ("verdicts", "methods", "policies")),
                ("taken", snapshot["created_at"]),
            ],
        ),
        *_evaluations(evaluations),
    ]
    if facts["held_out"]:
        kept = {name.removeprefix("eval_"): value for name, value in facts["held_out"].items()}
        shown = ("loss", "rewards/accuracies", "rewards/margins", "rewards/chosen", "rewards/rejected")
        rows = [(name, f"{kept[name]:.4f}") for name in shown if name in kept]
        parts += ["## On the held-out pairs", _table(("", ""), rows)]
    settings = [(name, f"{value}") for name, value in sorted(run.items()) if value not in (None, "", [], ())]
    parts += ["## Settings", _table(("setting", "value"), settings)]
    parts += ["## Versions", _table(("package", "version"), list(facts["versions"].items()))]
    return "\n\n".join(parts) + "\n"


def _evaluations(evaluations: Sequence[Mapping[str, Any]]) -> list[str]:
    """A table of the figures before and after on each data set."""
    if not evaluations:
        return []
    rows = [
        (one["data"], name, one["before"][name], one["after"][name]) for one in evaluations for name in one["before"]
    ]
    written = [(data, name, f"{before:.4f}", f"{after:.4f}") for data, name, before, after in rows]
    return ["## Before and after", _table(("data", "figure", "before", "after"), written)]


def _counts(counted: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counted.items())


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
