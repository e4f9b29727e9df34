"""Figures and intervals: against numbers worked out by hand, against SciPy's bootstrap, and by how often they hold."""

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import bootstrap

from pairs.metrics import CAPTION_SHARES, CaptionCounts, Share, caption_figures
from pairs.model import RawAnswer
from trainer.evaluation import DataSet, Example, ObjectVocabulary, compare, counts, figures
from trainer.evaluation.errors import NotComparable
from trainer.evaluation.shares import Counts, estimate
from trainer.evaluation.shares import compare as compare_shares

CUPS = ObjectVocabulary.of_names(["cup", "fork", "knife", "bowl"])


def dataset(*present: set[str]) -> DataSet:
    examples = [Example(Path(f"{number}.png"), frozenset(there), f"{number}") for number, there in enumerate(present)]
    return DataSet("cups", tuple(examples), CUPS)


def captions(*texts: str) -> list[RawAnswer]:
    return [RawAnswer(text=text, finish_reason="length" if text.endswith("and") else "stop") for text in texts]


TABLE = dataset({"cup", "fork"}, {"cup", "fork"}, {"bowl"})
SAID = captions("A cup, a knife and another knife.", "Cups and forks and", "Nothing at all")


def test_figures_by_hand() -> None:
    found = figures(counts(SAID, TABLE), seed=0)

    # named 2 + 2 + 0, of which present 1 + 2; present 2 + 2 + 1; mentions 3 + 2, of which wrong 2
    wanted = {"precision": 3 / 4, "recall": 3 / 5, "f1": 6 / 9, "chair_i": 2 / 5, "chair_s": 1 / 3}
    wanted |= {"mean_words": (7 + 4 + 3) / 3, "truncated": 1 / 3}
    assert {name: found[name].value for name in found.estimates} == pytest.approx(wanted)
    assert found.units == 3
    assert all(one.low <= one.value <= one.high for one in found.estimates.values())


def test_captions_must_be_as_many_as_images() -> None:
    with pytest.raises(ValueError, match="zip"):
        counts(SAID[:2], TABLE)


ROWS = st.lists(st.tuples(*[st.integers(0, 9)] * len(CaptionCounts._fields)), min_size=1, max_size=8)


@given(ROWS)
def test_values_are_those_of_the_shared_arithmetic(rows: list[tuple[int, ...]]) -> None:
    counted = Counts(tuple(map(str, range(len(rows)))), CaptionCounts._fields, tuple(rows))
    found = estimate(counted, CAPTION_SHARES, seed=0, resamples=10)
    wanted = asdict(caption_figures(CaptionCounts(*row) for row in rows))
    assert {name: found[name].value for name in found.estimates if name in wanted} == pytest.approx(
        {name: wanted[name] for name in found.estimates if name in wanted}
    )


def words(values: "np.ndarray[tuple[int], np.dtype[np.int64]]") -> Counts:
    return Counts(
        tuple(map(str, range(len(values)))), ("captions", "words"), tuple((1, value) for value in values.tolist())
    )


MEAN = {"mean": Share({"words": 1}, {"captions": 1})}


def test_the_interval_is_that_of_another_bootstrap() -> None:
    values = np.random.default_rng(1).poisson(20, 80)
    ours = estimate(words(values), MEAN, seed=0, resamples=20_000)["mean"]
    theirs = bootstrap((values,), np.mean, n_resamples=20_000, method="percentile", rng=np.random.default_rng(2))
    assert ours.low == pytest.approx(theirs.confidence_interval.low, abs=0.05)
    assert ours.high == pytest.approx(theirs.confidence_interval.high, abs=0.05)


def test_about_95_in_100_intervals_hold_the_truth() -> None:
    rng = np.random.default_rng(3)
    found = [estimate(words(rng.poisson(20, 60)), MEAN, seed=k, resamples=500)["mean"] for k in range(400)]
    assert 0.91 <= np.mean([one.low <= 20 <= one.high for one in found]) <= 0.98


def test_the_same_seed_gives_the_same_interval_and_another_another() -> None:
    values = np.random.default_rng(4).poisson(20, 50)
    assert estimate(words(values), MEAN, seed=5) == estimate(words(values), MEAN, seed=5)
    assert estimate(words(values), MEAN, seed=5) != estimate(words(values), MEAN, seed=6)


def test_a_model_compared_with_itself_differs_in_nothing() -> None:
    counted = counts(SAID, TABLE)
    for one in compare(counted, counted, seed=0).differences.values():
        assert (one.value, one.low, one.high, one.above, one.below) == (0, 0, 0, 0, 0)


def test_a_difference_by_hand() -> None:
    better = counts(captions("A cup and a fork.", "Cups and forks.", "A bowl"), TABLE)
    found = compare(better, counts(SAID, TABLE), seed=0)
    assert found["chair_i"].value == pytest.approx(0 - 2 / 5)
    assert found["f1"].value == pytest.approx(1 - 6 / 9)
    assert found["chair_i"].high <= 0 <= found["f1"].low
    assert found["chair_i"].above == 0
    # the only hallucination is in the first image: it is drawn with 1 - (2/3)^3
    assert found["chair_i"].below == pytest.approx(1 - (2 / 3) ** 3, abs=0.04)


def test_pairing_narrows_the_interval_of_a_difference() -> None:
    rng = np.random.default_rng(7)
    first = rng.poisson(20, 100)
    ours, theirs = words(first + rng.poisson(1, 100)), words(first)
    paired = compare_shares(ours, theirs, MEAN, seed=0)["mean"]
    alone = [estimate(one, MEAN, seed=0)["mean"] for one in (ours, theirs)]
    assert paired.low > 0.7
    assert paired.above == 1
    assert paired.high - paired.low < 0.5 * min(one.high - one.low for one in alone)


def test_models_that_saw_other_images_are_not_compared() -> None:
    other = counts(captions("A cup", "A fork"), dataset({"cup"}, {"fork"}))
    with pytest.raises(NotComparable, match="same images"):
        compare(counts(SAID, TABLE), other, seed=0)


def test_there_is_no_figure_of_nothing() -> None:
    with pytest.raises(ValueError, match="nothing to draw from"):
        estimate(Counts((), ("captions", "words"), ()), MEAN, seed=0)


def test_counts_figures_and_comparisons_are_json() -> None:
    counted = counts(SAID, TABLE)
    for value in (counted, figures(counted, seed=0), compare(counted, counted, seed=0)):
        assert json.loads(json.dumps(asdict(value)))
