"""Arrangements: what each rule makes of finished pairs, and that training and evaluation read them so."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pairs.model import Answer, Answers, Decision, DiscardReason, ImageRef, Pair
from pairs.settings import Settings
from pairs.store import PairFilter
from tests.examples import a_pair
from trainer.arrange import Arrangement, UnreadablePairs, arrange, arranged, read_finished
from trainer.commands.train import run_training
from trainer.rows import PairsFile
from trainer.selection import Selection
from trainer.snapshot import Snapshots

THRESHOLD = 0.03
_UNFIT = (DiscardReason.EMPTY_ANSWER, DiscardReason.EQUAL_ANSWERS, DiscardReason.TRUNCATED)


def finished(number: int, margin: float, unfit: DiscardReason | None = None) -> Pair:
    """A pair of its own image as the verifier leaves it under THRESHOLD."""
    decision = Decision.DISCARDED
    if unfit is None and abs(margin) > THRESHOLD:
        decision = Decision.KEPT if margin > 0 else Decision.SWAPPED
    reason = unfit or (DiscardReason.WITHIN_THRESHOLD if decision is Decision.DISCARDED else None)
    normal, injected = (Answer(text=f"{side} {number}", finish_reason="stop") for side in ("normal", "injected"))
    image = ImageRef(sha256=f"{number:064x}", width=48, height=48, media_type="image/png")
    answers = Answers(normal=normal, injected=injected)
    return a_pair(decision, image=image, answers=answers, margin=margin, reason=reason)


@st.composite
def pools(draw: st.DrawFn) -> list[Pair]:
    kinds = st.tuples(st.floats(-1, 1), st.one_of(st.none(), st.sampled_from(_UNFIT)))
    return [finished(number, *kind) for number, kind in enumerate(draw(st.lists(kinds, max_size=30)))]


def under(pool: list[Pair], how: Arrangement) -> list[Pair]:
    return [pair for _, pair in arrange(((None, pair) for pair in pool), how)]


@given(pools(), st.sampled_from(Arrangement))
def test_every_preference_has_two_different_answers_and_no_review(pool: list[Pair], how: Arrangement) -> None:
    known = {pair.id for pair in pool if pair.reason not in _UNFIT}
    for pair in under(pool, how):
        assert pair.id in known
        assert pair.answers is not None
        assert {pair.chosen, pair.rejected} == {pair.answers.normal.text, pair.answers.injected.text}
        assert pair.chosen != pair.rejected
        assert (pair.reason, pair.review) == (None, None)


@given(pools())
def test_verified_is_what_the_verifier_decided(pool: list[Pair]) -> None:
    expected = [(pair.id, pair.decision) for pair in pool if pair.decision is not Decision.DISCARDED]
    assert [(pair.id, pair.decision) for pair in under(pool, Arrangement.VERIFIED)] == expected


@given(pools())
def test_keep_is_verified_without_its_swaps(pool: list[Pair]) -> None:
    kept = [pair for pair in under(pool, Arrangement.VERIFIED) if pair.decision is Decision.KEPT]
    assert under(pool, Arrangement.KEEP) == kept


@given(pools())
def test_swap_follows_the_sign_and_discards_only_a_margin_of_nothing(pool: list[Pair]) -> None:
    found = under(pool, Arrangement.SWAP)
    assert [pair.id for pair in found] == [pair.id for pair in pool if pair.reason not in _UNFIT and pair.margin != 0]
    for pair in found:
        assert pair.answers is not None
        assert pair.margin is not None
        assert pair.chosen == (pair.answers.normal if pair.margin > 0 else pair.answers.injected).text


@given(pools())
def test_off_chooses_the_normal_answer_of_every_fit_pair(pool: list[Pair]) -> None:
    found = under(pool, Arrangement.OFF)
    assert [(pair.id, pair.margin) for pair in found] == [
        (pair.id, pair.margin) for pair in pool if pair.reason not in _UNFIT
    ]
    assert all(pair.answers is not None and pair.chosen == pair.answers.normal.text for pair in found)


@given(pools())
def test_random_rejects_the_normal_answer_to_another_image(pool: list[Pair]) -> None:
    fit = [pair for pair in pool if pair.reason not in _UNFIT]
    normal = {pair.answers.normal.text: pair.id for pair in fit if pair.answers is not None}
    found = under(pool, Arrangement.RANDOM)
    assert [pair.id for pair in found] == [pair.id for pair in fit[1:]]
    for pair in found:
        assert normal[str(pair.chosen)] == pair.id
        assert normal[str(pair.rejected)] != pair.id
        assert pair.margin is None


def test_random_has_no_place_for_the_same_text_or_the_same_image() -> None:
    one = finished(1, 0.5)
    assert one.answers is not None
    same_text = finished(2, 0.5).model_copy(update={"answers": one.answers})
    same_image = finished(3, 0.5).model_copy(update={"image": one.image})
    assert arranged(one, Arrangement.RANDOM, [same_text, same_image]) is None
    assert arranged(one, Arrangement.RANDOM, [same_text, same_image, finished(4, 0.5)]) is not None


@pytest.fixture
def pool(tmp_path: Path) -> Path:
    file = tmp_path / "pool.jsonl"
    margins = [0.5, -0.5, 0.01, -0.01, 0.4, -0.4, 0.3, 0.2]
    pairs = [finished(number, margin) for number, margin in enumerate(margins)]
    lines = ({"file": f"{number}.png"} | pair.model_dump(mode="json") for number, pair in enumerate(pairs))
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return file


@pytest.mark.parametrize(("how", "count"), [("verified", 6), ("keep", 4), ("swap", 8), ("off", 8), ("random", 7)])
def test_a_snapshot_is_taken_of_a_file_under_an_arrangement(
    pool: Path, settings: Settings, how: str, count: int
) -> None:
    source = PairsFile(pool, Arrangement(how), settings.images_url)
    taken = Snapshots(settings.snapshots_url, settings.images_url).take(source, Selection(count=count))
    assert taken.count == taken.trained_on == count
    assert taken.source == f"{pool}, {how}"


def test_a_margin_is_turned_towards_the_chosen_answer(pool: Path, settings: Settings) -> None:
    rows = list(PairsFile(pool, Arrangement.SWAP, settings.images_url).rows(PairFilter(), with_images=False))
    assert [row.margin for row in rows] == [0.5, 0.5, 0.01, 0.01, 0.4, 0.4, 0.3, 0.2]
    off = list(PairsFile(pool, Arrangement.OFF, settings.images_url).rows(PairFilter(), with_images=False))
    assert [row.margin for row in off][:2] == [0.5, -0.5]


def test_the_filter_holds_for_a_file_too(pool: Path, settings: Settings) -> None:
    source = PairsFile(pool, Arrangement.VERIFIED, settings.images_url)
    wanted = PairFilter(decision=Decision.SWAPPED, min_margin=0.45)
    assert [row.chosen for row in source.rows(wanted, with_images=False)] == ["injected 1"]


def test_what_is_no_file_of_pairs_is_said(tmp_path: Path) -> None:
    with pytest.raises(UnreadablePairs, match="cannot be read"):
        list(read_finished(tmp_path / "none.jsonl"))
    (tmp_path / "other.jsonl").write_text('{"id": 1}\n')
    with pytest.raises(UnreadablePairs, match="line 1 is not a pair"):
        list(read_finished(tmp_path / "other.jsonl"))


def test_an_arrangement_needs_a_file(settings: Settings) -> None:
    with pytest.raises(Exception, match="name it with --pairs"):
        run_training(["--arrange", "off"])
