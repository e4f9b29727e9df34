"""Keep, swap or discard (METHOD, section 2); pure."""

from dataclasses import dataclass
from datetime import datetime

from pairs.model import (
    VERDICT_OF,
    Answer,
    Answers,
    Candidate,
    Decision,
    DiscardReason,
    Pair,
    Status,
    Timings,
    Verifier,
    settle,
)
from workers.clip.scoring import margin

_CUT_OFF = "length"
"""vLLM's finish reason of an answer that ran into max_tokens."""


@dataclass(frozen=True)
class Ruling:
    """What was decided, why a discarded pair was discarded, and the margin where both answers were scored."""

    decision: Decision
    reason: DiscardReason | None
    margin: float | None


def rule(normal: Answer, injected: Answer, threshold: float) -> Ruling:
    """Which answer is the better one, if it can be told.

    The reasons to discard hold in this order: an answer is empty, an answer was cut off, the answers are equal (white
    space around them aside), the margin's size is not above `threshold`.
    """
    reason = _unfit(normal, injected)
    gap = margin(normal, injected)
    if reason is None and gap is not None and gap > threshold:
        return Ruling(Decision.KEPT, None, gap)
    if reason is None and gap is not None and gap < -threshold:
        return Ruling(Decision.SWAPPED, None, gap)
    return Ruling(Decision.DISCARDED, reason or DiscardReason.WITHIN_THRESHOLD, gap)


@dataclass(frozen=True)
class Provenance:
    """Who decided: the encoder and the scorer, and the versions of what they run on."""

    verifier: Verifier
    versions: dict[str, str]


def finished(candidate: Candidate, answers: Answers, ruling: Ruling, by: Provenance, timings: Timings) -> Pair:
    """The pair that `candidate` became."""
    chosen, rejected = settle(answers.normal.text, answers.injected.text, VERDICT_OF[ruling.decision])
    return Pair.of_job(candidate.job, Status.DONE).model_copy(
        update={
            "answers": answers,
            "decision": ruling.decision,
            "reason": ruling.reason,
            "margin": ruling.margin,
            "chosen": chosen,
            "rejected": rejected,
            "policy": candidate.policy,
            "verifier": by.verifier,
            "versions": candidate.versions | by.versions,
            "timings": timings,
        }
    )


def time_spent(candidate: Candidate, taken_at: datetime, decided_at: datetime) -> Timings:
    """Where the pair's time went; a negative span, from clocks of machines that differ, counts as none."""
    created_at = candidate.job.created_at

    def span(start: datetime, end: datetime) -> float:
        return max(0.0, (end - start).total_seconds())

    return Timings(
        queue_s=span(created_at, candidate.generation_started_at),
        generate_s=span(candidate.generation_started_at, candidate.generated_at),
        verify_queue_s=span(candidate.generated_at, taken_at),
        verify_s=span(taken_at, decided_at),
        total_s=span(created_at, decided_at),
    )


def _unfit(normal: Answer, injected: Answer) -> DiscardReason | None:
    texts = normal.text.strip(), injected.text.strip()
    if not all(texts):
        return DiscardReason.EMPTY_ANSWER
    if _CUT_OFF in (normal.finish_reason, injected.finish_reason):
        return DiscardReason.TRUNCATED
    if texts[0] == texts[1]:
        return DiscardReason.EQUAL_ANSWERS
    return None
