"""The two scorers against the encoder asked directly, one image and one text at a time."""

from statistics import fmean

import numpy as np
import pytest

from pairs.model import Answer, Candidate, RawAnswer
from tests.clip.conftest import World
from workers.clip.encoder import Encoder
from workers.clip.images import Images
from workers.clip.scorer import Scorer, ScorerName
from workers.clip.texts import Texts


async def scored(world: World, encoder: Encoder, name: ScorerName, text: str) -> tuple[Answer, Candidate]:
    candidate = await world.candidate(3)
    candidate = candidate.model_copy(update={"normal": RawAnswer(text=text, finish_reason="stop")})
    scorer = Scorer(encoder, Images(world.blobs, encoder), name)
    sha256 = candidate.job.image.sha256
    [answers] = scorer.score([candidate], {sha256: await scorer.load(sha256)})
    return answers.normal, candidate


async def cosine(world: World, encoder: Encoder, candidate: Candidate, text: str) -> float:
    [image] = encoder.embed_images([encoder.pixels(await world.blobs.get(candidate.job.image.sha256))])
    [row] = encoder.embed_sentences([text])
    return float(image @ row)


async def test_a_sentences_f_clip_score_is_the_mean_of_its_own_cosine_and_its_phrases(
    world: World, encoder: Encoder
) -> None:
    answer, candidate = await scored(world, encoder, "phrase", "A cup, a dog.\nIt is. A red cup.")
    expected = {
        "A cup, a dog.": ("A cup, a dog.", "A cup", "a dog"),
        "It is.": ("It is.",),
        "A red cup.": ("A red cup.", "A red cup"),
    }
    assert [one.text for one in answer.sentences] == list(expected)
    for one, texts in zip(answer.sentences, expected.values(), strict=True):
        assert one.score == pytest.approx(fmean([await cosine(world, encoder, candidate, text) for text in texts]))
    assert answer.score == pytest.approx(fmean(one.score for one in answer.sentences))


async def test_by_sentence_only_the_sentences_own_cosine_counts(world: World, encoder: Encoder) -> None:
    answer, candidate = await scored(world, encoder, "sentence", "A cup, a dog.")
    assert answer.score == pytest.approx(await cosine(world, encoder, candidate, "A cup, a dog."))


@pytest.mark.parametrize("name", ["sentence", "phrase"])
async def test_an_answer_without_nouns_scores_alike_by_both(world: World, encoder: Encoder, name: ScorerName) -> None:
    answer, candidate = await scored(world, encoder, name, "It is very.")
    assert answer.score == pytest.approx(await cosine(world, encoder, candidate, "It is very."))


async def test_the_phrases_of_a_sentence_that_is_too_long_are_those_of_its_pieces(
    world: World, encoder: Encoder
) -> None:
    answer, candidate = await scored(world, encoder, "phrase", "there is a red cup, and a dog")
    assert len(answer.sentences) > 1
    for one in answer.sentences:
        assert all(encoder.fits([one.text]))
    [last] = [one for one in answer.sentences if one.text == "and a dog"]
    texts = ("and a dog", "a dog")
    assert last.score == pytest.approx(fmean([await cosine(world, encoder, candidate, text) for text in texts]))


@pytest.mark.parametrize("name", ["sentence", "phrase"])
async def test_an_empty_answer_has_no_score(world: World, encoder: Encoder, name: ScorerName) -> None:
    answer, _ = await scored(world, encoder, name, " ")
    assert answer.score is None
    assert answer.sentences == ()


async def test_a_text_that_is_remembered_scores_as_it_did_and_is_not_embedded_again(
    world: World, encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    candidate = await world.candidate(3)
    scorer = Scorer(encoder, Images(world.blobs, encoder), "phrase", texts_remembered=100)
    loaded = {candidate.job.image.sha256: await scorer.load(candidate.job.image.sha256)}
    first = scorer.score([candidate], loaded)
    monkeypatch.setattr(encoder, "_text", None)
    assert scorer.score([candidate], loaded) == first


async def test_no_more_texts_are_remembered_than_may_be(world: World, encoder: Encoder) -> None:
    texts = Texts(encoder, capacity=2)
    for few in (["a", "b", "c"], ["d"], ["a", "d"]):
        assert np.allclose(texts.embed(few), encoder.embed_sentences(few), atol=1e-6)
        assert len(texts._known) <= 2
