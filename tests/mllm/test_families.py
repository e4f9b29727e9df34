"""Paired decoding of several multimodal families, over HTTP, token for token against the two-pass reference.

Every family answers six scenes at eight ratios, all pairs in flight at once. An answer counts as *exact* when its
token ids are the reference's, and as *forgiven* when each of its tokens is the reference's choice after the same
tokens but for ties: places where the best blended logit leads by less than float noise, as measured on the same server
between its own logprobs and the reference's. Nothing else passes, and at each ratio at most one answer of the six is
forgiven. A table of both is printed at the end.

**How the blind context is formed.** The client leaves the image part out of the message, and the model's own chat
template writes nothing in its place. The rest of the prompt is the same, token for token. What goes, per family:

- LLaVA-1.5: `<image>`, which stands for one token for each patch of the vision tower.
- Qwen2.5-VL: `<|vision_start|>`, one `<|image_pad|>` for 2 x 2 patches, `<|vision_end|>`. Positions go with it: in the
  grounded prompt all later tokens move on by the side of the picture in tokens (M-RoPE), in the blind one by nothing.
- Idefics3 (and SmolVLM): for each tile of the picture and for the whole, `<fake_token_around_image>`, a tag that says
  which, and one `<image>` for 2 x 2 patches; the last `<fake_token_around_image>`.
- InternVL: `<img>`, one `<IMG_CONTEXT>` for 2 x 2 patches, `</img>`.

Gemma 3 is not among them: its image tokens see each other both ways, and vLLM 0.32 reads them one way on a CPU. With
the reference made to read them so, the one plain answer that was tried was equal.

A chat template that writes a placeholder for a message without an image, or another system prompt, makes another blind
context: compare `prompt_token_ids` of the two members (`return_token_ids`), as the first test here does.
"""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from PIL.Image import Image

from tests.mllm.client import Answer, Client, client_of
from tests.mllm.families import FAMILIES
from tests.mllm.forked import forked
from tests.mllm.server import MllmServer
from workers.mllm.reference import TwoPass

PROMPT = "Describe the image ."
MAX_TOKENS = 24
RATIOS = (-1.0, -0.5, 0.0, 0.1, 0.5, 0.9, 1.0, 1.5)
MIN_EXACT = 5
NOISE_MARGIN = 4.0
"""A tie is nearer than this many times the largest difference seen between a served logprob and the reference's."""


@dataclass
class Tally:
    """Of one family: exact and forgiven answers by ratio, and the float noise they were judged by."""

    noise: float = 0.0
    exact: dict[float, int] = field(default_factory=dict)
    forgiven: dict[float, int] = field(default_factory=dict)


@dataclass
class Served:
    """A family's server and reference, and what the server answered: pairs by (scene number, ratio)."""

    name: str
    server: MllmServer
    reference: TwoPass
    tally: Tally
    plain: list[Answer] = field(default_factory=list)
    blind: list[Answer] = field(default_factory=list)
    pairs: dict[tuple[int, float], tuple[Answer, Answer]] = field(default_factory=dict)


@pytest.fixture(scope="module")
def tallies(request: pytest.FixtureRequest) -> Iterator[dict[str, Tally]]:
    """Filled by the tests, printed when they are through."""
    filled: dict[str, Tally] = {}
    yield filled
    capture = request.config.pluginmanager.get_plugin("capturemanager")
    assert capture is not None
    with capture.global_and_fixture_disabled():
        print("", *table(filled), sep="\n")


def table(tallies: dict[str, Tally]) -> list[str]:
    """Families by ratios: exact answers, `+` those forgiven for a tie, of all."""
    rows = [["family", *(f"h={ratio:g}" for ratio in RATIOS), "float noise"]]
    for name, tally in tallies.items():
        cells = [f"{tally.exact.get(h, 0)}+{tally.forgiven.get(h, 0)}" for h in RATIOS]
        rows.append([name, *cells, f"{tally.noise:.1e}"])
    return ["  ".join(cell.rjust(11) for cell in row) for row in rows]


@pytest.fixture(scope="module", params=["llava", *FAMILIES])
def served(
    request: pytest.FixtureRequest, tallies: dict[str, Tally], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    name: str = request.param
    tally = tallies.setdefault(name, Tally())
    if name == "llava":
        demo, reference = request.getfixturevalue("mllm_server"), request.getfixturevalue("reference")
        yield Served(name, demo, reference, tally)
        return
    folder = tmp_path_factory.mktemp(name)
    FAMILIES[name].save(folder / "model", seed=5)
    flags = ["--max-model-len", "256", "--max-num-seqs", "64"]
    with forked(folder / "model", *flags, log=folder / "vllm.log") as server:
        yield Served(name, server, TwoPass(folder / "model"), tally)


@pytest.fixture(scope="module")
async def answered(served: Served, scenes: list[Image]) -> Served:
    """The server with its answers, all asked for at once."""
    asked = [(number, ratio) for ratio in RATIOS for number in range(len(scenes[:6]))]
    fields: dict[str, Any] = {"prompt": PROMPT, "max_tokens": MAX_TOKENS}
    async with client_of(served.server) as client:
        served.tally.noise = max([await float_noise(client, served.reference, scene) for scene in scenes[:3]])
        served.plain, served.blind, pairs = await asyncio.gather(
            asyncio.gather(*(client.ask(scene, **fields) for scene in scenes[:6])),
            asyncio.gather(*(client.ask(None, **fields) for _ in range(2))),
            asyncio.gather(*(client.ask_pair(scenes[number], ratio, **fields) for number, ratio in asked)),
        )
    served.pairs = dict(zip(asked, pairs, strict=True))
    return served


async def float_noise(client: Client, reference: TwoPass, scene: Image) -> float:
    """The largest difference between a served logprob of a plain answer and the reference's for the same token."""
    fields = {"logprobs": True, "top_logprobs": 5, "return_tokens_as_token_ids": True}
    response = await client.post(scene, prompt=PROMPT, max_tokens=MAX_TOKENS, **fields)
    choice = response.raise_for_status().json()["choices"][0]
    grounded, _ = reference.logits(PROMPT, scene, choice["token_ids"])
    expected = grounded.log_softmax(1)
    differences = [
        abs(float(top["logprob"]) - float(expected[step, int(top["token"].removeprefix("token_id:"))]))
        for step, entry in enumerate(choice["logprobs"]["content"])
        for top in entry["top_logprobs"]
    ]
    return max(differences)


def shortfalls(reference: TwoPass, scene: Image, ratio: float, token_ids: list[int]) -> torch.Tensor:
    """How far each token of an answer falls short of the best blended logit at its place: [tokens]; 0 for the best."""
    grounded, blind = reference.logits(PROMPT, scene, token_ids)
    blended = (1 - ratio) * grounded + ratio * blind
    return blended.amax(1) - blended[torch.arange(len(token_ids)), torch.tensor(token_ids)]


def test_the_blind_prompt_is_what_the_chat_template_writes_without_an_image(
    answered: Served, scenes: list[Image]
) -> None:
    reference = answered.reference
    grounded = reference.inputs(PROMPT, scenes[0])["input_ids"][0].tolist()
    blind = reference.inputs(PROMPT, None)["input_ids"][0].tolist()
    assert answered.plain[0].prompt_token_ids == grounded
    assert answered.blind[0].prompt_token_ids == blind
    assert [answer.prompt_token_ids for answer in answered.pairs[0, 0.5]] == [grounded, blind]
    image = len(grounded) - len(blind)
    begins = next(place for place, pair in enumerate(zip(grounded, blind, strict=False)) if pair[0] != pair[1])
    assert grounded[:begins] + grounded[begins + image :] == blind, "the two differ by one stretch: the image"
    assert not set(grounded[begins : begins + image]) & set(blind)


@pytest.mark.parametrize("ratio", RATIOS)
def test_every_token_is_the_references(answered: Served, scenes: list[Image], ratio: float) -> None:
    tally = answered.tally
    tie = NOISE_MARGIN * tally.noise * (abs(1 - ratio) + abs(ratio))
    tally.exact[ratio] = tally.forgiven[ratio] = 0
    for number, scene in enumerate(scenes[:6]):
        grounded, blind = answered.pairs[number, ratio]
        assert (grounded.token_ids, grounded.text) == (blind.token_ids, blind.text)
        expected = answered.reference.answer(PROMPT, scene, ratio, MAX_TOKENS)
        if grounded.token_ids == expected.token_ids:
            tally.exact[ratio] += 1
            continue
        short = shortfalls(answered.reference, scene, ratio, grounded.token_ids)
        print(f"{answered.name}, h = {ratio:g}: short of the best by {short.max():g}, a tie is {tie:g}")
        assert short.max() <= tie
        tally.forgiven[ratio] += 1
    assert tally.exact[ratio] >= MIN_EXACT


def test_ratio_0_is_the_plain_request_and_ratio_1_the_blind_one(answered: Served) -> None:
    for number, plain in enumerate(answered.plain):
        assert [answer.token_ids for answer in answered.pairs[number, 0.0]] == [plain.token_ids] * 2
        assert [answer.token_ids for answer in answered.pairs[number, 1.0]] == [answered.blind[0].token_ids] * 2


def test_float_noise_is_small_beside_the_logits(answered: Served) -> None:
    assert 0 < answered.tally.noise < 1e-3


def test_the_answers_depend_on_the_image_and_on_the_ratio(answered: Served) -> None:
    """Otherwise the tests above could not fail."""
    assert len({tuple(answer.token_ids) for answer in answered.plain}) > 3
    assert len({tuple(answered.pairs[0, ratio][0].token_ids) for ratio in RATIOS}) > 3
    assert all(answer.token_ids != answered.blind[0].token_ids for answer in answered.plain)
