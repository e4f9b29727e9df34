"""A server's answers against the two-pass reference: what is asked, what must be equal, and what counts as a tie.

Greedy answers must have the tokens of `workers.mllm.reference`, twins must be equal, and a seed must give the same
tokens again. A tie is an answer that leaves the reference at a step where its best two logits are nearer than TIE.
"""

import asyncio
import math
import re
from collections import Counter
from collections.abc import Awaitable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from aiohttp import ClientSession
from PIL import Image

from benchmarks.paired_decoding import PROMPT, data_url, session
from workers.mllm.reference import Decoded, TwoPass

MAX_TOKENS = 80
RATIOS = (-0.5, 0.0, 0.6, 1.0)
IN_FLIGHT = 64
DRAWN: dict[str, Any] = {"ratio": 0.6, "temperature": 0.7}
TIE = 1e-4
"""Two blended logits nearer than this are a tie within float noise: either may win."""
SETTLE_S = 1.0
"""From the last answer until the engine's counts of that step are on /metrics."""

Answer = dict[str, Any]
"""Of a chat completion: text, token_ids, finish_reason and stop_reason."""


@dataclass(frozen=True)
class Question:
    """A scene, and the reference's greedy answer at each of RATIOS."""

    scene: int
    picture: str
    expected: dict[float, Decoded]


@dataclass
class Findings:
    """Of each kind, how many were compared and were right; what differs, and what does by a tie of the reference."""

    compared: Counter[str] = field(default_factory=Counter)
    right: Counter[str] = field(default_factory=Counter)
    differences: list[dict[str, Any]] = field(default_factory=list)
    ties: list[dict[str, Any]] = field(default_factory=list)
    metrics: dict[str, float] = field(default_factory=dict)

    @property
    def is_exact(self) -> bool:
        return not self.differences and self.metrics["divergences"] == self.metrics["timeouts"] == 0

    def compare(self, kind: str, about: dict[str, Any], got: Answer, want: Decoded) -> None:
        step = first_difference(got["token_ids"], want.token_ids)
        lead = math.inf if step is None else want.leads[min(step, len(want.leads) - 1)]
        found = about | {"step": step, "lead": lead, "answer": got, "reference": want.text}
        self._count(f"{kind}, as the reference", step is None, found, lead < TIE)

    def equal(self, kind: str, about: dict[str, Any], one: Answer, other: Answer) -> None:
        is_right = all(one[name] == other[name] for name in ("text", "token_ids"))
        self._count(kind, is_right, about | {"answers": [one, other]})

    def _count(self, kind: str, is_right: bool, found: dict[str, Any], is_tie: bool = False) -> None:
        self.compared[kind] += 1
        self.right[kind] += is_right
        if not is_right:
            (self.ties if is_tie else self.differences).append({"kind": kind} | found)


def first_difference(one: Sequence[int], other: Sequence[int]) -> int | None:
    """The first step at which two answers differ, the shorter one's end included; None if they do not."""
    if one == other:
        return None
    steps = (step for step, pair in enumerate(zip(one, other, strict=False)) if pair[0] != pair[1])
    return next(steps, min(len(one), len(other)))


class Asker:
    """A client of one server. Raises aiohttp.ClientResponseError when a request is refused."""

    def __init__(self, http: ClientSession, url: str) -> None:
        self._http = http
        self._url = url

    async def ask(self, picture: str | None, **fields: Any) -> Answer:
        content: list[dict[str, Any]] = [{"type": "text", "text": PROMPT}]
        if picture is not None:
            content.insert(0, {"type": "image_url", "image_url": {"url": picture}})
        body = {"model": "mllm", "messages": [{"role": "user", "content": content}], "temperature": 0}
        body |= {"max_tokens": MAX_TOKENS, "return_token_ids": True} | fields
        async with self._http.post(f"{self._url}/v1/chat/completions", json=body, raise_for_status=True) as response:
            choice = (await response.json())["choices"][0]
        named = {name: choice[name] for name in ("token_ids", "finish_reason", "stop_reason")}
        return {"text": choice["message"]["content"], **named}

    async def pair(self, picture: str, ratio: float, **fields: Any) -> tuple[Answer, Answer]:
        """Both members: (grounded, blind)."""
        twin = {"judgefree_twin": uuid4().hex, "judgefree_ratio": ratio}
        grounded = self.ask(picture, vllm_xargs=twin | {"judgefree_role": "grounded"}, **fields)
        return await asyncio.gather(grounded, self.ask(None, vllm_xargs=twin | {"judgefree_role": "blind"}, **fields))

    async def metrics(self) -> dict[str, float]:
        async with self._http.get(f"{self._url}/metrics", raise_for_status=True) as response:
            lines = re.findall(r"^judgefree_mllm_(\w+?)(?:_total)?(?:\{.*\})? (\S+)$", await response.text(), re.M)
        return {name: float(value) for name, value in lines if not name.endswith("_created")}


async def findings(url: str, questions: Sequence[Question]) -> Findings:
    """Ask the server at `url` everything, and compare every answer."""
    async with session() as http:
        return await _findings(Asker(http, url), questions)


async def _findings(asker: Asker, questions: Sequence[Question]) -> Findings:
    found = Findings()
    places = asyncio.Semaphore(IN_FLIGHT)
    first: dict[int, Answer] = {}

    async def in_turn(asked: Awaitable[None]) -> None:
        async with places:
            await asked

    async def greedy(one: Question, ratio: float) -> None:
        about = {"scene": one.scene, "ratio": ratio}
        grounded, blind = await asker.pair(one.picture, ratio)
        found.equal("greedy twins, equal", about, grounded, blind)
        found.compare("greedy twins", about, grounded, one.expected[ratio])

    async def ordinary(one: Question, ratio: float) -> None:
        got = await asker.ask(one.picture if ratio == 0 else None)
        found.compare("ordinary", {"scene": one.scene, "ratio": ratio}, got, one.expected[ratio])

    async def drawn(one: Question) -> None:
        fields = {"temperature": DRAWN["temperature"], "top_p": 1.0 if one.scene % 3 else 0.9}
        fields |= {"seed": one.scene} if one.scene % 4 else {}
        grounded, blind = await asker.pair(one.picture, DRAWN["ratio"], **fields)
        found.equal("drawn twins, equal", {"scene": one.scene}, grounded, blind)
        if one.scene in first and "seed" in fields:
            found.equal("seeded twins, the same again", {"scene": one.scene}, grounded, first[one.scene])
        first[one.scene] = grounded

    asked: list[Awaitable[None]] = []
    for one in questions:
        asked += [greedy(one, ratio) for ratio in RATIOS]
        asked += [ordinary(one, ratio) for ratio in ((0.0,) if one.scene % 4 else (0.0, 1.0))]
    await asyncio.gather(*map(in_turn, asked))
    for order in (questions, questions[::-1]):
        await asyncio.gather(*(in_turn(drawn(one)) for one in order))
    await asyncio.sleep(SETTLE_S)
    found.metrics = await asker.metrics()
    return found


def questions_about(images: Iterable[Image.Image], reference: TwoPass) -> list[Question]:
    return [
        Question(at, data_url(image), {ratio: reference.answer(PROMPT, image, ratio, MAX_TOKENS) for ratio in RATIOS})
        for at, image in enumerate(images)
    ]
