"""What the demo promises of its weights, and the model card that shows whether it holds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

MEGABYTE = 1_000_000
SUGGESTED_THRESHOLD = "0.03"
_RISING = ("0.0", "0.25", "0.5", "0.75", "1.0")


@dataclass(frozen=True)
class Bound:
    """One promise: what must hold, the figures it was held against, and whether it holds."""

    claim: str
    figures: list[float]
    holds: bool


def bounds_of(card: dict[str, Any]) -> Iterator[Bound]:
    """Every promise, held against the figures of a card."""
    home = card["splits"]["in_distribution"]
    greedy = home["by_ratio"]["0.0"]
    yield Bound("greedy F1 in distribution is 0.65 to 0.9", [greedy["f1"]], 0.65 <= greedy["f1"] <= 0.9)
    yield Bound("greedy CHAIR_i in distribution is 0.10 to 0.25", [greedy["chair_i"]], 0.1 <= greedy["chair_i"] <= 0.25)
    tower = home["tower_f1"]
    yield Bound(
        "the tower's F1 is at least 0.05 above the captions'", [tower, greedy["f1"]], tower >= greedy["f1"] + 0.05
    )
    for split in ("in_distribution", "theme_breaking"):
        chair = [card["splits"][split]["by_ratio"][ratio]["chair_i"] for ratio in _RISING]
        rises = all(before < after for before, after in pairwise(chair))
        yield Bound(f"CHAIR_i rises over h = 0, 0.25, 0.5, 0.75, 1, {split}", chair, rises)
        doubles = chair[3] >= 2 * chair[0] > 0
        yield Bound(f"CHAIR_i at least doubles by h = 0.75, {split}", [chair[0], chair[3]], doubles)
    for split, figures in card["splits"].items():
        share = figures["clip"]["true_above_absent_object"]
        yield Bound(f"CLIP ranks the true object above an absent one in 90 %, {split}", [share], share >= 0.9)
    yield Bound("both models together are at most 20 MB", [card["bytes"]], card["bytes"] <= 20 * MEGABYTE)


def card_text(card: dict[str, Any]) -> str:
    """The card in Markdown; every figure comes from the measurement."""
    return "\n".join([*_introduction(card), *_captions(card), *_clip(card), *_pairs(card), *_bounds(card)]) + "\n"


def _introduction(card: dict[str, Any]) -> list[str]:
    sizes, megabytes = card["parameters"], card["bytes"] / MEGABYTE
    return [
        f"# The weights of the demo world of {card['world']}",
        "",
        f"A tiny LLaVA (`mllm/`, {sizes['mllm']:,} parameters) and a tiny CLIP (`clip/`, {sizes['clip']:,}), both",
        f"trained from nothing on rendered scenes by `{_command(card, 'train')}`; {megabytes:.1f} MB together.",
        f"They know nothing but 48 x 48 pictures of {card['about']}, and the LLaVA is imperfect on purpose.",
        "Licence: Apache-2.0.",
        "",
        f"Measured by `{_command(card, 'evaluate')}` on {card['scenes_per_split']} unseen scenes a split,",
        f'seed {card["seed"]}, greedy decoding, prompt "{card["prompt"]}" ({card["prompt_tokens"]} tokens).',
        "",
    ]


def _command(card: dict[str, Any], name: str) -> str:
    return f"python -m demo {name} --world {card['world']}"


def _captions(card: dict[str, Any]) -> list[str]:
    rows = [
        "## Captions",
        "",
        "| split | tower F1 | h | F1 | CHAIR_i | CHAIR_s | words |",
        "|---|---|---|---|---|---|---|",
    ]
    for split, figures in card["splits"].items():
        for ratio, row in figures["by_ratio"].items():
            shares = " | ".join(f"{row[name]:.3f}" for name in ("f1", "chair_i", "chair_s"))
            rows.append(f"| {split} | {figures['tower_f1']:.3f} | {ratio} | {shares} | {row['mean_words']:.1f} |")
    ended = ", ".join(f"{split} {figures['ended_by_itself']:.1%}" for split, figures in card["splits"].items())
    return [*rows, "", f"Greedy answers that end by themselves within 96 tokens: {ended}.", ""]


def _clip(card: dict[str, Any]) -> list[str]:
    rows = [
        "## CLIP: a true sentence ranks above the same one with",
        "",
        "| split | an absent object | a wrong place |",
    ]
    rows.append("|---|---|---|")
    for split, figures in card["splits"].items():
        clip = figures["clip"]
        rows.append(f"| {split} | {clip['true_above_absent_object']:.1%} | {clip['true_above_wrong_place']:.1%} |")
    return [*rows, ""]


def _pairs(card: dict[str, Any]) -> list[str]:
    rows = [
        "## Pairs, h ~ N(0.5, 0.15): accuracy by ground truth before and after verification",
        "",
        "| split | threshold | before | after | kept | swapped | discarded | CHAIR_i of chosen | of rejected |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for split, figures in card["splits"].items():
        for threshold, row in figures["pairs_by_threshold"].items():
            shares = " | ".join(_percent(row[f"accuracy_{when}"]) for when in ("before", "after"))
            counts = " | ".join(str(row[decision]) for decision in ("kept", "swapped", "discarded"))
            chair = f"{row['chosen_chair_i']:.3f} | {row['rejected_chair_i']:.3f}"
            rows.append(f"| {split} | {threshold} | {shares} | {counts} | {chair} |")
    return [*rows, "", f"Suggested threshold: {SUGGESTED_THRESHOLD}.", ""]


def _percent(share: float | None) -> str:
    return "none" if share is None else f"{share:.1%}"


def _bounds(card: dict[str, Any]) -> list[str]:
    rows = ["## What must hold", "", "| claim | measured | holds |", "|---|---|---|"]
    for bound in card["bounds"]:
        figures = ", ".join(
            f"{figure:.3f}" if isinstance(figure, float) else f"{figure:,}" for figure in bound["figures"]
        )
        rows.append(f"| {bound['claim']} | {figures} | {'yes' if bound['holds'] else '**no**'} |")
    return rows
