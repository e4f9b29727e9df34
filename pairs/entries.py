"""What the queue's streams hold, and how an entry of one is written and read."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Generic, TypeVar

from pairs.model import Candidate, Job, PairId
from pairs.takeover import Pending

Payload = TypeVar("Payload", Job, Candidate)


class Stage(StrEnum):
    """A stream and what its workers do: `jobs` are generated, `candidates` are verified."""

    JOBS = "jobs"
    CANDIDATES = "candidates"


@dataclass(frozen=True)
class Delivery(Generic[Payload]):
    """An entry that this consumer holds until it settles it; `trace` is the traceparent that its pair came with."""

    stage: Stage
    entry: str
    pair_id: PairId
    payload: Payload
    trace: str | None = None

    @property
    def added_at(self) -> datetime:
        """When the entry was put there, by the server's clock."""
        return datetime.fromtimestamp(added_s(self.entry), UTC)


@dataclass(frozen=True)
class DeadLetter:
    entry: str
    pair_id: PairId
    stage: Stage
    reason: str
    attempts: int
    payload: str
    trace: str | None = None


def added_s(entry: str) -> float:
    """When an entry was added, by the server's clock, in seconds of Unix time: its id begins with it."""
    return int(entry.partition("-")[0]) / 1000


def fields_of(pair_id: PairId, payload: str, trace: str | None) -> list[str]:
    """The fields of an entry, as XADD takes them."""
    return flat({"id": pair_id, "payload": payload} | ({"trace": trace} if trace else {}))


def flat(fields: dict[str, str]) -> list[str]:
    return [part for field in fields.items() for part in field]


def letter_of(entry: str, fields: dict[str, str]) -> DeadLetter:
    return DeadLetter(
        entry=entry,
        pair_id=PairId(fields["id"]),
        stage=Stage(fields["stage"]),
        reason=fields["reason"],
        attempts=int(fields["attempts"]),
        payload=fields["payload"],
        trace=fields.get("trace"),
    )


def pending_of(found: Iterable[dict[str, Any]]) -> list[Pending]:
    """What an XPENDING over a range says of its entries."""
    return [Pending(one["message_id"], one["times_delivered"], one["time_since_delivered"]) for one in found]


def entries_of(reply: Any) -> list[tuple[str, dict[str, str]]]:
    """The entries of an XREADGROUP over one stream; RESP2 answers with lists, RESP3 with a dict."""
    streams = reply.items() if isinstance(reply, dict) else (reply or [])
    return [(entry, fields) for _, entries in streams for entry, fields in _flatten(entries)]


def _flatten(entries: Any) -> list[tuple[str, dict[str, str]]]:
    return [entry for part in entries for entry in (part if isinstance(part, list) else [part])]
