"""A snapshot: training data that is named by its contents, and the data set that is made of exactly those."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from datasets import Dataset, Features, Image, List, Value
from datasets.exceptions import DatasetGenerationError

from pairs.errors import JudgefreeError
from pairs.model import Verdict
from pairs.store import PairFilter
from trainer.rows import Row, Source

TRAINABLE = (Verdict.KEEP, Verdict.SWAP)
"""The verdicts whose pairs have a chosen and a rejected answer."""

_MESSAGES = List({"role": Value("string"), "content": Value("string")})
FEATURES = Features(
    {
        "id": Value("string"),
        "images": List(Image()),
        "prompt": _MESSAGES,
        "chosen": _MESSAGES,
        "rejected": _MESSAGES,
        "margin": Value("float64"),
    }
)
"""The columns that TRL 1.16's vision DPO reads (images, prompt, chosen, rejected), the pair's id and its margin."""


class SnapshotChanged(JudgefreeError):
    type, title = "snapshot-changed", "The pairs are no longer those of the snapshot"


@dataclass(frozen=True)
class Snapshot:
    """Which pairs were asked for, how many rows they are, and the SHA-256 of what the rows say in whatever order."""

    source: str
    query: PairFilter
    count: int
    sha256: str

    def as_json(self) -> str:
        return json.dumps(asdict(self), default=str, sort_keys=True)


class Digest:
    """A hash of a set of rows that does not depend on their order and needs no memory for them.

    The sum of the rows' SHA-256 modulo 2**256, hashed with their number (the additive hash of Bellare and Micciancio,
    1997): good against change by accident, which is what it is for.
    """

    def __init__(self) -> None:
        self.count = 0
        self._sum = 0

    def add(self, row: Row) -> None:
        content = [row.id, row.image_sha256, row.prompt, row.chosen, row.rejected, row.margin]
        written = json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()
        self._sum = (self._sum + int.from_bytes(hashlib.sha256(written).digest())) % 2**256
        self.count += 1

    @property
    def sha256(self) -> str:
        return hashlib.sha256(f"{self.count}:{self._sum:064x}".encode()).hexdigest()


def pin(source: Source, query: PairFilter | None = None) -> Snapshot:
    """The snapshot of what `source` holds now; without a query, of every pair that can be trained on."""
    asked = query or PairFilter(verdicts=TRAINABLE)
    digest = Digest()
    for row in source.rows(asked, with_images=False):
        digest.add(row)
    return Snapshot(source.name, asked, digest.count, digest.sha256)


def rows(snapshot: Snapshot, source: Source) -> Iterator[dict[str, Any]]:
    """The snapshot's rows in TRL's form, their images streamed from where they rest.

    Raises SnapshotChanged at the end where `source` no longer held what was pinned.
    """
    digest = Digest()
    for row in source.rows(snapshot.query, with_images=True):
        digest.add(row)
        yield _conversation(row)
    if digest.sha256 != snapshot.sha256:
        raise SnapshotChanged(
            f"The snapshot has {snapshot.count} pairs ({snapshot.sha256[:12]}), {snapshot.source} now gives "
            f"{digest.count} ({digest.sha256[:12]}); pin a new one."
        )


def dataset(snapshot: Snapshot, source: Source, cache_dir: str | None = None) -> Dataset:
    """The snapshot as a data set on disk, mapped into memory and cached under its hash.

    Raises SnapshotChanged, and makes nothing, where `source` no longer holds what was pinned.
    """
    try:
        return Dataset.from_generator(
            rows,
            features=FEATURES,
            cache_dir=cache_dir,
            gen_kwargs={"snapshot": snapshot, "source": source},
            fingerprint=snapshot.sha256,
        )
    except DatasetGenerationError as error:
        if isinstance(error.__cause__, JudgefreeError):
            raise error.__cause__ from None
        raise


def _conversation(row: Row) -> dict[str, Any]:
    return {
        "id": row.id,
        "images": [{"bytes": row.image, "path": None}],
        "prompt": _message("user", row.prompt),
        "chosen": _message("assistant", row.chosen),
        "rejected": _message("assistant", row.rejected),
        "margin": row.margin,
    }


def _message(role: str, content: str) -> list[dict[str, str]]:
    return [{"role": role, "content": content}]
