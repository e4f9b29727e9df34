"""Plain values for tests: a job, its candidate, its finished pair."""

from datetime import timedelta
from typing import Any

from pairs.clock import new_pair_id, now
from pairs.model import (
    VERDICT_OF,
    Answer,
    Answers,
    Candidate,
    Decision,
    Hallucination,
    ImageRef,
    Job,
    Method,
    Pair,
    Policy,
    RawAnswer,
    Sampling,
    SentenceScore,
    Status,
    Timings,
    Verifier,
    settle,
)


def a_job(**changes: Any) -> Job:
    job = Job(
        id=new_pair_id(),
        image=ImageRef(sha256="0" * 64, width=48, height=48, media_type="image/png"),
        prompt="Describe the image.",
        hallucination=Hallucination(method=Method.BLEND, ratio=0.5),
        sampling=Sampling(max_tokens=64),
        seed=7,
        created_at=now(),
    )
    return job.model_copy(update=changes)


def a_candidate(job: Job | None = None, **changes: Any) -> Candidate:
    candidate = Candidate(
        job=job or a_job(),
        normal=RawAnswer(text="There is a red ring.", finish_reason="stop"),
        injected=RawAnswer(text="There is a blue ring.", finish_reason="stop"),
        policy=Policy(model="tiny"),
        versions={"judgefree": "0"},
        generation_started_at=now(),
        generated_at=now() + timedelta(seconds=1),
    )
    return candidate.model_copy(update=changes)


def a_pair(decision: Decision = Decision.KEPT, **changes: Any) -> Pair:
    job = a_job()
    texts = ("There is a red ring.", "There is a blue ring.")
    normal, injected = (
        Answer(text=text, finish_reason="stop", score=score, sentences=(SentenceScore(text=text, score=score),))
        for text, score in zip(texts, (0.6, 0.2), strict=True)
    )
    chosen, rejected = settle(*texts, VERDICT_OF[decision])
    pair = Pair.of_job(job, Status.DONE).model_copy(
        update={
            "answers": Answers(normal=normal, injected=injected),
            "decision": decision,
            "margin": 0.4,
            "chosen": chosen,
            "rejected": rejected,
            "policy": Policy(model="tiny"),
            "verifier": Verifier(model="tiny-clip", scorer="sentence"),
            "timings": Timings(queue_s=0, generate_s=1, verify_queue_s=0, verify_s=0.1, total_s=1.1),
        }
    )
    return pair.model_copy(update=changes)
