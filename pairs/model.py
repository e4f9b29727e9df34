"""What passes between the rooms: job -> candidate -> pair, as frozen values that read and write themselves as JSON."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, NewType, Self

from pydantic import BaseModel, ConfigDict, Field

PairId = NewType("PairId", str)

RATIO_MIN, RATIO_MAX = -2.0, 2.0
"""The hallucination ratio's range; a draw from the Gaussian is clipped to it."""

Ratio = Annotated[float, Field(ge=RATIO_MIN, le=RATIO_MAX, allow_inf_nan=False)]

MaxTokens = Annotated[int, Field(ge=1, le=32_768)]
Temperature = Annotated[float, Field(ge=0, le=2)]
TopP = Annotated[float, Field(gt=0, le=1)]
TopK = Annotated[int, Field(ge=0, le=1_000_000)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]


class Method(StrEnum):
    """How hallucination is injected (METHOD: `blend` mixes logits, the others change the request)."""

    BLEND = "blend"
    DROP = "drop"
    NOISE = "noise"
    PROMPT = "prompt"


class GroundingMethod(StrEnum):
    """How the normal answer is decoded: as the model does by itself, or against its own prior (h < 0)."""

    PLAIN = "plain"
    CONTRASTIVE = "contrastive"


class Status(StrEnum):
    QUEUED = "queued"
    GENERATING = "generating"
    VERIFYING = "verifying"
    DONE = "done"
    FAILED = "failed"


class Decision(StrEnum):
    """What the verifier made of a pair."""

    KEPT = "kept"
    SWAPPED = "swapped"
    DISCARDED = "discarded"


class Verdict(StrEnum):
    """What a person may say over the verifier's decision."""

    KEEP = "keep"
    SWAP = "swap"
    DISCARD = "discard"


class DiscardReason(StrEnum):
    EQUAL_ANSWERS = "equal_answers"
    EMPTY_ANSWER = "empty_answer"
    TRUNCATED = "truncated"
    WITHIN_THRESHOLD = "within_threshold"


class Value(BaseModel):
    """A frozen value; fields it does not know are refused, so that two versions of a room cannot misread each other."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ImageRef(Value):
    """A stored image: its bytes rest in the blob store under their SHA-256; width and height in pixels."""

    sha256: str
    width: int
    height: int
    media_type: str


class Hallucination(Value):
    """The injection as it was carried out: `ratio` is the drawn h for `blend`, the noise's share for `noise`,
    1 for `drop`, and none for `prompt`."""

    method: Method
    ratio: Ratio | None


class Grounding(Value):
    """How the normal answer was decoded: `ratio` is h, 0 for `plain` and negative for `contrastive`, which is `blend`
    the other way (contrastive decoding as in VCD, arXiv 2311.16922)."""

    method: GroundingMethod = GroundingMethod.PLAIN
    ratio: Ratio = 0.0


class Sampling(Value):
    """How both answers are sampled; the names and meanings are those of the OpenAI API and vLLM (top_k 0: all)."""

    max_tokens: MaxTokens
    temperature: Temperature = 0.0
    top_p: TopP = 1.0
    top_k: TopK = 0


class Policy(Value):
    """The model whose answers these are, and the adapter on it if any."""

    model: str
    adapter: str | None = None


class Verifier(Value):
    model: str
    scorer: str


class Job(Value):
    """An accepted image, waiting for its two answers, which the model gives with `adapter` (none: as it is)."""

    id: PairId
    image: ImageRef
    prompt: str
    hallucination: Hallucination
    grounding: Grounding = Grounding()
    adapter: str | None = None
    sampling: Sampling
    seed: Seed
    created_at: datetime


class RawAnswer(Value):
    """An answer as the model gave it; `finish_reason` is vLLM's: `stop` or `length`."""

    text: str
    finish_reason: str


class Candidate(Value):
    """A job with its two answers, waiting for verification."""

    job: Job
    normal: RawAnswer
    injected: RawAnswer
    policy: Policy
    versions: dict[str, str]
    generation_started_at: datetime
    generated_at: datetime


class SentenceScore(Value):
    """A sentence and the cosine similarity of its embedding with the image's, in [-1, 1]."""

    text: str
    score: float


class Answer(RawAnswer):
    """An answer with its score: the mean over its sentences (METHOD, section 2); none if it was not scored."""

    score: float | None = None
    sentences: tuple[SentenceScore, ...] = ()


class Answers(Value):
    normal: Answer
    injected: Answer


class Timings(Value):
    """Where a pair's time went, in seconds; `total_s` runs from admission to the decision."""

    queue_s: float
    generate_s: float
    verify_queue_s: float
    verify_s: float
    total_s: float


class Pair(Value):
    """The public shape of a pair, in whatever state: what is not known yet is None."""

    id: PairId
    status: Status
    image: ImageRef
    prompt: str
    hallucination: Hallucination
    grounding: Grounding = Grounding()
    sampling: Sampling
    seed: int
    answers: Answers | None = None
    decision: Decision | None = None
    reason: str | None = None
    margin: float | None = None
    chosen: str | None = None
    rejected: str | None = None
    policy: Policy | None = None
    verifier: Verifier | None = None
    review: Verdict | None = None
    versions: dict[str, str] = {}
    created_at: datetime
    timings: Timings | None = None

    @classmethod
    def of_job(cls, job: Job, status: Status, reason: str | None = None) -> Self:
        """The pair that `job` will be, as far as it is known; `reason` says why it failed."""
        return cls(
            id=job.id,
            status=status,
            image=job.image,
            prompt=job.prompt,
            hallucination=job.hallucination,
            grounding=job.grounding,
            sampling=job.sampling,
            seed=job.seed,
            reason=reason,
            created_at=job.created_at,
        )

    @property
    def verdict(self) -> Verdict | None:
        """What holds for this pair: the person's review if there is one, else the verifier's decision."""
        if self.review is not None:
            return self.review
        return None if self.decision is None else VERDICT_OF[self.decision]

    def reviewed(self, review: Verdict) -> Self:
        """This pair under a person's verdict: chosen and rejected follow it, the decision stays the machine's.

        Raises ValueError when there are no answers to choose from.
        """
        if self.answers is None:
            raise ValueError(f"pair {self.id} is {self.status} and has no answers")
        chosen, rejected = settle(self.answers.normal.text, self.answers.injected.text, review)
        return self.model_copy(update={"review": review, "chosen": chosen, "rejected": rejected})


VERDICT_OF = {Decision.KEPT: Verdict.KEEP, Decision.SWAPPED: Verdict.SWAP, Decision.DISCARDED: Verdict.DISCARD}


def settle(normal: str, injected: str, verdict: Verdict) -> tuple[str | None, str | None]:
    """Chosen and rejected under a verdict; both None for a discarded pair."""
    match verdict:
        case Verdict.KEEP:
            return normal, injected
        case Verdict.SWAP:
            return injected, normal
        case Verdict.DISCARD:
            return None, None
