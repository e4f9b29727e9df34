"""What the routes answer with, besides a pair itself."""

from pydantic import BaseModel

from pairs.model import Decision, Pair, PairId, Policy, Verdict


class Accepted(BaseModel):
    """One pair an image, in the images' order."""

    pairs: list[Pair]


class Listed(BaseModel):
    """A page of pairs, newest first; `next` is the cursor of the page after it."""

    pairs: list[Pair]
    next: PairId | None


class Review(BaseModel):
    """A person's verdict over the machine's."""

    verdict: Verdict

    model_config = {"extra": "forbid"}


class QueueStats(BaseModel):
    """Entries in each stream, and the bound past which requests get 429."""

    jobs: int
    candidates: int
    dead: int
    max_in_flight: int


class FailedPair(BaseModel):
    """A dead letter: a pair that had its attempts."""

    id: PairId
    stage: str
    reason: str
    attempts: int


class ModelStats(BaseModel):
    """The policy of requests that name no adapter, while the model is there."""

    is_there: bool
    policy: Policy | None = None
    max_model_len: int | None = None
    vllm: str | None = None


class VerifierStats(BaseModel):
    """What the settings ask of the verifier."""

    model: str
    scorer: str
    margin_threshold: float


class Stats(BaseModel):
    """Counts and rates, now."""

    decisions: dict[Decision, int]
    finished: int
    pairs_per_second: float
    queue: QueueStats
    dead_letters: list[FailedPair]
    model: ModelStats
    verifier: VerifierStats
    version: str


class Readiness(BaseModel):
    """Whether this gateway can serve, and which parts are away."""

    status: str
    away: list[str]
