"""Pairs held against the truth: accuracies, swaps, thresholds and the ROC, against numbers worked out by hand."""

import asyncio
import base64
import hashlib
import io
import json
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from rich.console import Console
from sklearn.metrics import roc_auc_score

from pairs.blobs import Blobs
from pairs.model import Answer, Answers, Decision, Hallucination, ImageRef, Method, Pair
from pairs.settings import Settings
from pairs.store import Store
from service.export import row
from service.images import NormalImage, normalise
from tests.examples import a_pair
from trainer.evaluation import DataSet, Example, ObjectVocabulary
from trainer.evaluation.errors import UnreadableDataSet
from trainer.evaluation.finished import FinishedPair, read_pairs, stored_pairs
from trainer.evaluation.roc import RocPoint, roc
from trainer.evaluation.table import verification_tables
from trainer.evaluation.truth import JudgedPair, judge
from trainer.evaluation.verification import at_threshold, by_ratio, figures, suggested_thresholds, verification

KEPT, SWAPPED, DISCARDED = Decision.KEPT, Decision.SWAPPED, Decision.DISCARDED
RIGHT, HALF, WRONG = "A cup and a fork.", "A cup and a knife.", "A knife."
WORDS = ObjectVocabulary.of_names(["cup", "fork", "knife"])


@pytest.fixture
def table(tmp_path: Path) -> DataSet:
    """Two photographs of a cup and a fork."""
    examples = []
    for number in range(2):
        file = tmp_path / f"{number}.png"
        noise = np.random.default_rng(number).integers(256, size=(20, 30, 3), dtype=np.uint8)
        Image.fromarray(noise).save(file)
        examples.append(Example(file, frozenset({"cup", "fork"}), file.name))
    return DataSet("table", tuple(examples), WORDS)


def a_finished(decision: Decision, normal: str, injected: str, **given: Any) -> FinishedPair:
    return FinishedPair(**{"id": "1", "reason": None, "margin": 0.1, "ratio": 0.5, "file": "0.png"} | given, **{
        "normal": normal, "injected": injected, "decision": decision})  # fmt: skip


PAIRS = [
    a_finished(KEPT, RIGHT, WRONG, ratio=0.2, margin=0.3),  # right, and stays right
    a_finished(SWAPPED, HALF, RIGHT, ratio=0.4, margin=-0.2),  # wrong, rightly swapped
    a_finished(KEPT, HALF, RIGHT, ratio=0.4, margin=0.1, file="1.png"),  # wrong, and stays wrong
    a_finished(SWAPPED, RIGHT, HALF, ratio=0.6, margin=-0.05, file="1.png"),  # right, wrongly swapped
    a_finished(DISCARDED, WRONG, HALF, ratio=0.6, margin=-0.01, reason="within_threshold"),  # wrong, and given up
    a_finished(KEPT, WRONG, "Some knives.", ratio=None, margin=0.2),  # undecided
    a_finished(DISCARDED, RIGHT, "", margin=None, reason="empty_answer", ratio=0.2),  # equal precision, better F1
]


@pytest.fixture
def judged(table: DataSet) -> tuple[JudgedPair, ...]:
    return judge(PAIRS, table).pairs


def test_an_answer_is_better_by_precision_then_by_f1_and_may_be_neither(judged: tuple[JudgedPair, ...]) -> None:
    assert [one.is_normal_better for one in judged] == [True, False, False, True, False, None, True]


def test_the_figures_by_hand(judged: tuple[JudgedPair, ...]) -> None:
    found = figures(judged, seed=0)
    assert {name: one.value for name, one in found.estimates.items()} == pytest.approx(
        {
            "accuracy_before": 3 / 6,
            "accuracy_after": 2 / 4,
            "swap_precision": 1 / 2,
            "swap_recall": 1 / 3,
            "kept": 3 / 7,
            "swapped": 2 / 7,
            "discarded": 2 / 7,
        }
    )
    assert found.units == 2  # images


def test_a_share_of_no_pairs_is_a_dash_in_every_table(table: DataSet) -> None:
    pairs = [a_finished(KEPT, RIGHT, WRONG), a_finished(DISCARDED, HALF, RIGHT, ratio=0.4, margin=-0.1)]
    found = verification(judge(pairs, table).pairs, seed=0)
    console = Console(file=io.StringIO(), width=120)
    for one in verification_tables("table", found):
        console.print(one)
    assert isinstance(console.file, io.StringIO)
    rows = [line.split() for line in console.file.getvalue().splitlines()]
    assert ["swap", "precision", "–"] in rows
    assert ["swap", "recall", "0.000", "[0.000,", "0.000]"] in rows
    assert ["0.40", "1", "0.000", "–", "–", "0.000", "1.000"] in rows
    assert ["0.50", "1", "1.000", "1.000", "–", "–", "0.000"] in rows


def test_by_ratio_each_of_a_few_values_is_a_bin(judged: tuple[JudgedPair, ...]) -> None:
    bins = by_ratio(judged, seed=0)
    assert [(one.low, one.high, one.pairs) for one in bins] == [(0.2, 0.2, 2), (0.4, 0.4, 2), (0.6, 0.6, 2)]
    assert [one.figures["accuracy_before"].value for one in bins] == [1, 0, 0.5]


def test_by_ratio_many_values_are_parted_into_equal_bins(judged: tuple[JudgedPair, ...]) -> None:
    many = [
        JudgedPair(a_finished(KEPT, RIGHT, WRONG, ratio=ratio), "0.png", True)
        for ratio in np.random.default_rng(0).normal(0.5, 0.15, 100).tolist()
    ]
    bins = by_ratio(many, seed=0)
    assert [one.pairs for one in bins] == [20] * 5
    assert all(one.high < after.low for one, after in pairwise(bins))


@pytest.mark.parametrize(
    ("threshold", "decisions"),
    [
        (0.0, [KEPT, SWAPPED, KEPT, SWAPPED, SWAPPED, KEPT, DISCARDED]),
        (0.05, [KEPT, SWAPPED, KEPT, DISCARDED, DISCARDED, KEPT, DISCARDED]),
        (0.3, [DISCARDED] * 7),
    ],
)
def test_another_threshold_decides_anew_what_the_margin_decides(
    judged: tuple[JudgedPair, ...], threshold: float, decisions: list[Decision]
) -> None:
    assert [at_threshold(one, threshold).pair.decision for one in judged] == decisions


def test_thresholds_are_suggested_by_the_margins(judged: tuple[JudgedPair, ...]) -> None:
    suggested = suggested_thresholds(judged)
    assert suggested[0] == 0
    assert suggested == sorted(suggested)
    assert suggested[5] == pytest.approx(0.15)  # the median of .3 .2 .1 .05 .01 .2


def test_the_roc_by_hand(judged: tuple[JudgedPair, ...]) -> None:
    # normal better: .3, -.05; injected better: -.2, .1, -.01; couples in order: 3 and 1 of 6
    found = roc(judged, seed=0)
    assert found is not None
    assert found.pairs == 5
    assert found.auc.value == pytest.approx(4 / 6)
    assert found.points[0] == RocPoint(None, 0.0, 0.0)
    assert [point.margin for point in found.points[1:]] == [0.3, 0.1, -0.01, -0.05, -0.2]
    assert [point.true_positive_rate for point in found.points] == [0, 0.5, 0.5, 0.5, 1, 1]
    assert [point.false_positive_rate for point in found.points] == pytest.approx([0, 0, 1 / 3, 2 / 3, 2 / 3, 1])


@given(st.lists(st.tuples(st.sampled_from([-0.2, -0.1, 0.0, 0.1, 0.3]), st.booleans()), min_size=1, max_size=30))
def test_the_area_is_that_of_another_library(found: list[tuple[float, bool]]) -> None:
    pairs = [
        JudgedPair(a_finished(KEPT, RIGHT, WRONG, margin=margin), f"{number}", is_normal_better)
        for number, (margin, is_normal_better) in enumerate(found)
    ]
    ours = roc(pairs, seed=0, resamples=20)
    if len({is_normal_better for _, is_normal_better in found}) < 2:
        assert ours is None
    else:
        assert ours is not None
        assert ours.auc.value == pytest.approx(roc_auc_score([right for _, right in found], [m for m, _ in found]))
        assert 0 <= ours.auc.low <= ours.auc.high <= 1


def test_everything_about_a_set_of_pairs_is_json(judged: tuple[JudgedPair, ...]) -> None:
    found = verification(judged, seed=0)
    assert json.loads(json.dumps(asdict(found), allow_nan=False))["pairs"] == 7


def a_whole_pair(normal: str, injected: str, **changes: Any) -> Pair:
    answers = Answers(*(), **{"normal": Answer(text=normal, finish_reason="stop"),
        "injected": Answer(text=injected, finish_reason="stop")})  # fmt: skip
    given = {"answers": answers, "margin": 0.2, "hallucination": Hallucination(method=Method.BLEND, ratio=0.3)}
    return a_pair(KEPT, **(given | changes))


def kept_image(table: DataSet, number: int, max_side: int = 1_000) -> tuple[NormalImage, ImageRef]:
    """What the gateway keeps of an image of the table."""
    kept = normalise(table.examples[number].image.read_bytes(), 10_000, max_side)
    digest = hashlib.sha256(kept.content).hexdigest()
    return kept, ImageRef(sha256=digest, width=kept.width, height=kept.height, media_type="image/png")


def submitted(folder: Path, *named: tuple[str, Pair]) -> Path:
    """The file that `judgefree submit` writes of the pairs."""
    file = folder / "pairs.jsonl"
    file.write_text("".join(json.dumps({"file": name} | pair.model_dump(mode="json")) + "\n" for name, pair in named))
    return file


def test_a_pair_whose_file_has_the_name_of_another_image_is_refused(table: DataSet, tmp_path: Path) -> None:
    pair = a_whole_pair(HALF, RIGHT, image=kept_image(table, 1)[1])
    with pytest.raises(UnreadableDataSet, match=f"Pair {pair.id} is about another image than table has .* name 0.png"):
        judge(read_pairs(submitted(tmp_path, ("scenes/0.png", pair))), table)


def test_a_pair_whose_image_is_of_another_size_is_refused(table: DataSet, tmp_path: Path) -> None:
    pair = a_whole_pair(HALF, RIGHT)  # 48 x 48
    with pytest.raises(UnreadableDataSet, match="is about another image"):
        judge(read_pairs(submitted(tmp_path, ("0.png", pair))), table)


@pytest.mark.parametrize(("orientation", "mode", "max_side"), [(1, "RGB", 20), (6, "RGB", 1_000), (1, "RGBA", 1_000)])
def test_an_image_that_the_gateway_turned_scaled_or_laid_on_white_is_found_by_its_name(
    table: DataSet, tmp_path: Path, orientation: int, mode: str, max_side: int
) -> None:
    file = table.examples[0].image
    image, exif = Image.open(file).convert(mode), Image.Exif()
    exif[0x0112] = orientation
    if mode == "RGBA":
        image.putalpha(90)
    image.save(file, exif=exif)
    pair = a_whole_pair(HALF, RIGHT, image=kept_image(table, 0, max_side)[1])
    [found] = judge(read_pairs(submitted(tmp_path, ("0.png", pair))), table).pairs
    assert found.image == "0.png"


def test_pairs_are_read_as_submit_and_as_export_writes_them(table: DataSet, tmp_path: Path) -> None:
    kept, image = kept_image(table, 1)
    whole = a_whole_pair(HALF, RIGHT, image=image)
    exported = row(whole, kept.content)
    exported["images"] = [image | {"bytes": base64.b64encode(image["bytes"]).decode()} for image in exported["images"]]
    rows = [{"file": "scenes/1.png"} | whole.model_dump(mode="json"), exported]
    file = tmp_path / "pairs.jsonl"
    file.write_text("".join(json.dumps(one) + "\n" for one in rows))

    found = judge(read_pairs(file), table)

    assert [one.image for one in found.pairs] == ["1.png", "1.png"]  # by name, and by pixels
    assert [one.is_normal_better for one in found.pairs] == [False, False]
    submitted, exported_pair = (asdict(one.pair) | {"file": None, "kept": None, "image": None} for one in found.pairs)
    assert submitted == exported_pair


def test_pairs_are_read_from_the_store_with_their_images(table: DataSet, settings: Settings) -> None:
    async def fill() -> None:
        store, blobs = await Store.open(settings.store_url), Blobs(settings.images_url)
        written = io.BytesIO()
        Image.new("RGB", (30, 20), "red").save(written, "PNG")
        kept = normalise(table.examples[0].image.read_bytes(), 10_000, 1_000).content
        names = [await blobs.put(content) for content in (kept, written.getvalue())]
        images = [ImageRef(sha256=name, width=30, height=20, media_type="image/png") for name in names]
        await store.insert([a_whole_pair(RIGHT, HALF, image=image) for image in images])
        await store.close()

    asyncio.run(fill())

    found = judge(stored_pairs(settings.store_url, settings.images_url), table)

    assert [one.image for one in found.pairs] == ["0.png"]
    assert found.strangers == 1


def test_pairs_about_other_images_are_said(table: DataSet) -> None:
    with pytest.raises(UnreadableDataSet, match="None of 1 finished pairs is about an image of table"):
        judge([a_finished(KEPT, RIGHT, WRONG, file="7.png")], table)


@pytest.mark.parametrize("line", ["{}", '{"file": "0.png", "id": 3}', '{"answers.normal.text": "A cup"}'])
def test_a_line_that_is_no_pair_is_said_in_one_sentence(tmp_path: Path, line: str) -> None:
    (tmp_path / "pairs.jsonl").write_text(line + "\n")
    with pytest.raises(UnreadableDataSet, match=r"pairs\.jsonl, line 1: not a pair"):
        list(read_pairs(tmp_path / "pairs.jsonl"))
