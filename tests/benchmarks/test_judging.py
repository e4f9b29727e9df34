"""The judge that verification is compared with: its shortcuts change nothing."""

import pytest
from PIL import Image

from benchmarks.judge_cost import accuracy, on_real_models
from benchmarks.judging import Judge
from demo.scenes import draw_scenes, pixels_of
from pairs.settings import local_model
from workers.mllm.reference import TwoPass

PROMPT = "Describe the image."


@pytest.fixture(scope="module")
def judge() -> Judge:
    return Judge.load(local_model("demo", "mllm"))


def test_an_answers_likelihood_is_that_of_reading_it_alone(judge: Judge) -> None:
    reference = TwoPass(local_model("demo", "mllm"))
    images = [Image.fromarray(pixels_of(scene)) for scene in draw_scenes("theme_breaking", 70, range(2))]
    answers = ["There is a red ring in the centre.", "I can see a blue cross at the top. There is a disc."]
    found = judge.likelihoods([*images, images[0]], PROMPT, [*answers, answers[1]])
    for image, answer, value in zip([*images, images[0]], [*answers, answers[1]], found, strict=True):
        tokens = judge.processor.tokenizer.encode(answer, add_special_tokens=False)
        grounded, _ = reference.logits(PROMPT, image, tokens)
        chances = grounded.log_softmax(-1)[range(len(tokens)), tokens]
        assert value == pytest.approx(float(chances.mean()), abs=1e-4)


def test_sentences_are_asked_about_one_by_one(judge: Judge) -> None:
    image = Image.fromarray(pixels_of(draw_scenes("theme_breaking", 70, range(1))[0]))
    sentences = ["There is a red ring.", "There is a disc at the top left."]
    alone = [judge.says_yes([image], [[sentence]])[0] for sentence in sentences]
    [together] = judge.says_yes([image], [sentences])
    assert together == pytest.approx(sum(alone) / 2, abs=1e-4)
    assert alone[0] != alone[1]
    assert not judge.knows("yes")


def test_accuracy_counts_decided_pairs() -> None:
    found = accuracy([0.4, -0.3, 0.2, -0.1, 0.9], [True, False, False, True, None])
    assert found == {"accuracy": 0.5, "surest_half": 1.0}


def test_a_judge_of_seven_billion_parameters_costs_tens_of_times_the_encoder() -> None:
    real = on_real_models()
    assert real["over_clip"]["yes"] > real["over_clip"]["likelihood"] > 10
    assert real["weights_over_clip"] == 16.5
