"""The embedded encoder on scenes of the embedded world, through the verifier's own path."""

import io

import numpy as np
import pytest
from PIL import Image

from demo.captions import sentence_of
from demo.scenes import Scene, draw_scenes, pixels_of
from pairs.model import Candidate, Decision, RawAnswer
from tests.clip.conftest import World
from tests.examples import a_candidate
from workers.clip.encoder import Encoder
from workers.clip.images import Images
from workers.clip.scorer import Scorer, ScorerName
from workers.clip.verdict import rule

SCENES = draw_scenes("in_distribution", 4711, range(64))


@pytest.fixture(scope="module")
def shipped() -> Encoder:
    return Encoder.load("demo", "cpu")


def a_png(scene: Scene) -> bytes:
    written = io.BytesIO()
    Image.fromarray(np.asarray(pixels_of(scene))).save(written, "PNG")
    return written.getvalue()


def true_and_false(scene: Scene) -> Candidate:
    """A caption of the scene, and the same one with its first object exchanged for one that is not there."""
    absent = next(name for name in scene.world.object_names if name not in scene.names)
    told = [sentence_of(thing.name, thing.place) for thing in scene.objects]
    lie = [sentence_of(absent, scene.objects[0].place), *told[1:]]
    normal, injected = (RawAnswer(text=" ".join(part), finish_reason="stop") for part in (told, lie))
    return a_candidate(normal=normal, injected=injected)


@pytest.mark.parametrize(("name", "threshold"), [("sentence", 0.03), ("phrase", 0.02)])
async def test_most_true_captions_are_kept_and_few_are_swapped(
    world: World, shipped: Encoder, name: ScorerName, threshold: float
) -> None:
    scorer = Scorer(shipped, Images(world.blobs, shipped), name)
    decisions = []
    for scene in SCENES:
        sha256 = await world.blobs.put(a_png(scene))
        candidate = true_and_false(scene)
        job = candidate.job.model_copy(update={"image": candidate.job.image.model_copy(update={"sha256": sha256})})
        loaded = {sha256: await scorer.load(sha256)}
        [answers] = scorer.score([candidate.model_copy(update={"job": job})], loaded)
        decisions.append(rule(answers.normal, answers.injected, threshold).decision)
    assert decisions.count(Decision.KEPT) >= 0.8 * len(decisions)
    assert decisions.count(Decision.SWAPPED) <= 0.1 * len(decisions)


def test_the_worlds_sentences_fit_its_text_context(shipped: Encoder) -> None:
    sentences = [sentence_of(thing.name, thing.place) for scene in SCENES for thing in scene.objects]
    assert all(shipped.fits(sentences))
