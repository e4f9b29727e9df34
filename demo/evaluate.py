"""Measures trained weights on scenes that no training has seen, and holds them against what the demo promises.

The figures land in a model card beside the weights, once as JSON for programs and once as Markdown for people.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from demo.captions import DEFAULT_PROMPT, sentence_of, sentences_of
from demo.card import bounds_of, card_text
from demo.metrics import caption_figures, set_f1
from demo.models.clip import load_clip, token_ids
from demo.models.mllm import load_mllm, prompt_ids
from demo.models.tower import load_reader, pixel_values, seen_objects
from demo.models.two_pass import decode
from demo.scenes import TEST_SPLITS, Scene, draw_scenes, pixels_of
from demo.score import DECISIONS, ScoredPair, score_pairs
from demo.worlds import PLACES, World

EVALUATION_SEED = 20_000
RATIOS = (-0.5, 0.0, 0.25, 0.5, 0.75, 1.0)
RATIO_MEAN, RATIO_STD = 0.5, 0.15
THRESHOLDS = (0.0, 0.01, 0.02, 0.03, 0.05, 0.08)
HEAD_FILE = "patch_head.safetensors"
_BATCH = 250

Report = Callable[[str], None]


class Evaluation:
    """The loaded weights of one folder and the figures that can be taken of them."""

    def __init__(self, weights: Path, world: World) -> None:
        self.world = world
        self.mllm = load_mllm(weights / "mllm")
        self.clip = load_clip(weights / "clip")
        self.reader = load_reader(self.mllm.model.vision_tower, weights / HEAD_FILE, world)

    def answers(self, scenes: list[Scene], ratios: torch.Tensor) -> list[tuple[str, bool]]:
        """Greedy answers to the default prompt, blended at a ratio each; text and whether it ended by itself."""
        texts: list[tuple[str, bool]] = []
        for start in range(0, len(scenes), _BATCH):
            pixels = pixel_values([pixels_of(scene) for scene in scenes[start : start + _BATCH]])
            texts.extend(decode(self.mllm, self.world, pixels, ratios[start : start + _BATCH]))
        return texts

    def tower_f1(self, scenes: list[Scene]) -> float:
        found = seen_objects(self.reader, [pixels_of(scene) for scene in scenes])
        return set_f1(found, [scene.names for scene in scenes])

    @torch.inference_mode()
    def sentence_scores(self, scenes: list[Scene], texts: list[list[str]]) -> list[list[float]]:
        """Cosine of each scene's image and each of its sentences."""
        images = self.clip.encode_image(pixel_values([pixels_of(scene) for scene in scenes]), normalize=True)
        flat = [text for several in texts for text in several]
        owner = [number for number, several in enumerate(texts) for _ in several]
        cosines = (images[owner] * self.clip.encode_text(token_ids(flat, self.world), normalize=True)).sum(-1).tolist()
        scores: list[list[float]] = [[] for _ in texts]
        for number, cosine in zip(owner, cosines, strict=True):
            scores[number].append(cosine)
        return scores

    def ranking(self, scenes: list[Scene], seed: int) -> dict[str, float]:
        """How often CLIP puts a true sentence above the same one with an absent object, and with a wrong place."""
        rng = np.random.default_rng([seed, 300])
        scores = self.sentence_scores(scenes, [_three_sentences(scene, rng) for scene in scenes])
        absent, misplaced = (sum(row[0] > row[k] for row in scores) / len(scores) for k in (1, 2))
        return {"true_above_absent_object": absent, "true_above_wrong_place": misplaced}

    def pairs(self, scenes: list[Scene], normal: list[str], seed: int) -> dict[str, Any]:
        """Normal against blended answers at h ~ N(0.5, 0.15), sorted by the margin at several thresholds."""
        rng = np.random.default_rng([seed, 400])
        ratios = torch.from_numpy(np.clip(rng.normal(RATIO_MEAN, RATIO_STD, len(scenes)), 0, 1)).float()
        injected = [text for text, _ in self.answers(scenes, ratios)]
        plain = self.sentence_scores(scenes, [sentences_of(text) for text in normal])
        blended = self.sentence_scores(scenes, [sentences_of(text) for text in injected])
        margins = [_mean(ours) - _mean(theirs) for ours, theirs in zip(plain, blended, strict=True)]
        names = {str(scene.index): scene.names for scene in scenes}
        rows: dict[str, Any] = {}
        for threshold in THRESHOLDS:
            verified = [
                _verified(str(scene.index), ours, theirs, margin, threshold)
                for scene, ours, theirs, margin in zip(scenes, normal, injected, margins, strict=True)
            ]
            rows[str(threshold)] = _pair_figures(score_pairs(verified, names))
        return rows


def _pair_figures(scored: dict[str, Any]) -> dict[str, Any]:
    return {
        **{decision: scored[decision] for decision in DECISIONS},
        **{f"accuracy_{when}": scored["pair_accuracy"][when] for when in ("before", "after")},
        **{f"{answer}_chair_i": scored["answers"][answer]["chair_i"] for answer in ("chosen", "rejected")},
    }


def _mean(scores: list[float]) -> float:
    return sum(scores) / len(scores) if scores else 0.0


def _verified(file: str, normal: str, injected: str, margin: float, threshold: float) -> ScoredPair:
    if normal == injected or abs(margin) <= threshold:
        return ScoredPair(file, "discarded", normal, injected, None, None)
    if margin > 0:
        return ScoredPair(file, "kept", normal, injected, normal, injected)
    return ScoredPair(file, "swapped", normal, injected, injected, normal)


def _three_sentences(scene: Scene, rng: np.random.Generator) -> list[str]:
    thing = scene.objects[int(rng.integers(len(scene.objects)))]
    absent = [name for name in scene.world.object_names if name not in scene.names]
    elsewhere = [place for place in PLACES if place != thing.place]
    wording = int(rng.integers(100))
    return [
        sentence_of(thing.name, thing.place, wording),
        sentence_of(absent[int(rng.integers(len(absent)))], thing.place, wording),
        sentence_of(thing.name, elsewhere[int(rng.integers(len(elsewhere)))], wording),
    ]


def evaluate(weights: Path, world: World, count: int, report: Report) -> dict[str, Any]:
    """All figures of a world's weights, over `count` unseen scenes a split; writes both model cards beside them."""
    torch.set_num_threads(1)
    subject = Evaluation(weights, world)
    card: dict[str, Any] = {
        "world": world.name,
        "about": world.about,
        "scenes_per_split": count,
        "seed": EVALUATION_SEED,
        "prompt": DEFAULT_PROMPT,
        "prompt_tokens": len(prompt_ids(DEFAULT_PROMPT, world, with_image=True)),
        "parameters": {
            "mllm": sum(weight.numel() for weight in subject.mllm.parameters()),
            "clip": sum(weight.numel() for weight in subject.clip.parameters()),
        },
        "bytes": sum(file.stat().st_size for part in ("mllm", "clip") for file in (weights / part).iterdir()),
        "splits": {split: _split_figures(subject, split, count, report) for split in TEST_SPLITS},
    }
    card["bounds"] = [asdict(bound) for bound in bounds_of(card)]
    (weights / "model_card.json").write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")
    (weights / "MODEL_CARD.md").write_text(card_text(card), encoding="utf-8")
    return card


def _split_figures(subject: Evaluation, split: str, count: int, report: Report) -> dict[str, Any]:
    scenes = draw_scenes(split, EVALUATION_SEED, range(count), subject.world)
    present = [scene.names for scene in scenes]
    by_ratio: dict[str, Any] = {}
    greedy: list[tuple[str, bool]] = []
    for ratio in RATIOS:
        answers = subject.answers(scenes, torch.full((count,), ratio))
        by_ratio[str(ratio)] = asdict(caption_figures([text for text, _ in answers], present))
        report(
            f"{split}: h = {ratio}: CHAIR_i {by_ratio[str(ratio)]['chair_i']:.3f}, F1 {by_ratio[str(ratio)]['f1']:.3f}"
        )
        greedy = answers if ratio == 0 else greedy
    return {
        "tower_f1": subject.tower_f1(scenes),
        "by_ratio": by_ratio,
        "ended_by_itself": sum(ended for _, ended in greedy) / count,
        "clip": subject.ranking(scenes, EVALUATION_SEED),
        "pairs_by_threshold": subject.pairs(scenes, [text for text, _ in greedy], EVALUATION_SEED),
    }
