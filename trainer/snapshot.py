"""A snapshot: training data that is written down once, named by its contents, and never changes.

A snapshot is two files under `snapshots_url`: `NAME.parquet` with the rows' texts, margins and image hashes, and
`NAME.json`, the manifest, which says how they were chosen. Images stay in the image store, which never changes what a
SHA-256 names. The manifest is written last: a snapshot that is listed is whole.
"""

import asyncio
import hashlib
import json
import os
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq

from pairs.blobs import Blobs
from pairs.clock import now
from pairs.errors import JudgefreeError
from trainer.rows import Row, Source
from trainer.selection import Selection, select

_BATCH = 1024
_NAME_LENGTH = 12
_TEXTS = ("id", "image_sha256", "prompt", "chosen", "rejected", "verdict", "method", "policy")
_TYPES: dict[str, pa.DataType] = dict.fromkeys(_TEXTS, pa.string())
SCHEMA = pa.schema(_TYPES | {"margin": pa.float64(), "held_out": pa.bool_()})


class EmptySelection(JudgefreeError):
    type, title = "empty-selection", "Nothing to train on"


class UnknownSnapshot(JudgefreeError):
    type, title = "unknown-snapshot", "There is no such snapshot"


class DamagedSnapshot(JudgefreeError):
    type, title = "damaged-snapshot", "The snapshot is not what it was"


@dataclass(frozen=True)
class Snapshot:
    """The manifest: the SHA-256 of what the rows say in whatever order, how many they are, how they were chosen.

    `mean_margin` is the mean over the rows that are trained on of the margin towards the chosen answer, what is
    negative counted as 0: the unit of the margin-aware loss.
    """

    sha256: str
    count: int
    held_out: int
    mean_margin: float
    verdicts: dict[str, int]
    methods: dict[str, int]
    policies: dict[str, int]
    source: str
    selection: dict[str, Any]
    created_at: str

    @property
    def name(self) -> str:
        return self.sha256[:_NAME_LENGTH]

    @property
    def trained_on(self) -> int:
        return self.count - self.held_out

    def as_json(self) -> str:
        return json.dumps(asdict(self), indent=2, sort_keys=True)


class Digest:
    """A hash of a set of rows that does not depend on their order and needs no memory for them.

    The sum of the rows' SHA-256 modulo 2**256, hashed with their number (the additive hash of Bellare and Micciancio,
    1997): good against change by accident, which is what it is for.
    """

    def __init__(self) -> None:
        self.count = 0
        self._sum = 0

    def add(self, row: dict[str, Any]) -> None:
        """Add a row, as the columns of SCHEMA."""
        written = json.dumps([row[name] for name in SCHEMA.names], ensure_ascii=False, separators=(",", ":")).encode()
        self._sum = (self._sum + int.from_bytes(hashlib.sha256(written).digest())) % 2**256
        self.count += 1

    @property
    def sha256(self) -> str:
        return hashlib.sha256(f"{self.count}:{self._sum:064x}".encode()).hexdigest()


class Snapshots:
    """The snapshots under `url` (fsspec), whose images rest under `images_url`."""

    def __init__(self, url: str, images_url: str) -> None:
        self._files, self._root = fsspec.core.url_to_fs(url)
        self.images_url = images_url

    def take(self, source: Source, asked: Selection | None = None) -> Snapshot:
        """Write down what `source` has of what is asked for. Raises EmptySelection.

        The same rows make the same snapshot, which is then only read. Memory holds the rows' labels, not the rows. A
        source that carries its images has them copied into the image store.
        """
        selection = asked or Selection()
        chosen = select(source.rows(selection.query, with_images=False), selection)
        if not chosen:
            raise EmptySelection(f"No pair in {source.name} is what was asked for; widen the selection or make more.")
        self._files.makedirs(self._root, exist_ok=True)
        with tempfile.TemporaryDirectory() as folder:
            written = Path(folder) / "rows.parquet"
            taken = self._write(written, source, selection, chosen)
            if self.has(taken.name):
                return self.find(taken.name)
            self._put(f"{taken.name}.parquet", written.read_bytes())
        self._put(f"{taken.name}.json", taken.as_json().encode())
        return taken

    def all(self) -> list[Snapshot]:
        """Every snapshot, oldest first."""
        names = [Path(path).stem for path in self._files.glob(f"{self._root}/*.json")]
        return sorted((self._read(name) for name in names), key=lambda snapshot: snapshot.created_at)

    def has(self, name: str) -> bool:
        return bool(self._files.exists(f"{self._root}/{name}.json"))

    def find(self, name: str) -> Snapshot:
        """The snapshot whose SHA-256 begins with `name`. Raises UnknownSnapshot for none and for several."""
        found = [Path(path).stem for path in self._files.glob(f"{self._root}/*.json")]
        matching = [stem for stem in found if stem.startswith(name[:_NAME_LENGTH])]
        if len(matching) != 1 or not name:
            raise UnknownSnapshot(f"{len(matching)} snapshots begin with {name!r}; `judgefree snapshots` lists them.")
        return self._read(matching[0])

    def file(self, snapshot: Snapshot, folder: Path) -> Path:
        """The snapshot's rows as a local Parquet file: where they rest, or fetched into `folder`.

        Raises DamagedSnapshot where they are no longer what the snapshot's SHA-256 names.
        """
        remote = f"{self._root}/{snapshot.name}.parquet"
        path = Path(remote) if self._is_local else folder / f"{snapshot.name}.parquet"
        if not self._is_local and not path.exists():
            folder.mkdir(parents=True, exist_ok=True)
            self._files.get_file(remote, str(path))
        digest = Digest()
        try:
            with pq.ParquetFile(path) as file:
                for batch in file.iter_batches(_BATCH):
                    for row in batch.to_pylist():
                        digest.add(row)
        except (OSError, pa.ArrowInvalid, KeyError) as error:
            raise DamagedSnapshot(f"The rows of snapshot {snapshot.name} cannot be read; take it again.") from error
        if digest.sha256 != snapshot.sha256:
            raise DamagedSnapshot(f"The rows of snapshot {snapshot.name} are not those it names; take it again.")
        return path

    @property
    def _is_local(self) -> bool:
        return "file" in self._files.protocol

    def _write(self, path: Path, source: Source, selection: Selection, chosen: dict[str, bool]) -> Snapshot:
        digest, margins, trained = Digest(), 0.0, 0
        counts: dict[str, Counter[str]] = {name: Counter() for name in ("verdict", "method", "policy")}
        blobs = Blobs(self.images_url) if source.carries_images else None
        with pq.ParquetWriter(path, SCHEMA) as writer:
            for batch in _batches(source.rows(selection.query, with_images=source.carries_images), chosen):
                if blobs is not None:
                    asyncio.run(_keep_images(blobs, batch))
                rows = [_columns(row, chosen[row.id]) for row in batch]
                writer.write_table(pa.Table.from_pylist(rows, SCHEMA))
                for row in rows:
                    digest.add(row)
                    for name, counter in counts.items():
                        counter[row[name]] += 1
                    if not row["held_out"]:
                        trained += 1
                        margins += max(0.0, row["margin"] or 0.0)
        return Snapshot(
            sha256=digest.sha256,
            count=digest.count,
            held_out=digest.count - trained,
            mean_margin=margins / trained if trained else 0.0,
            verdicts=dict(sorted(counts["verdict"].items())),
            methods=dict(sorted(counts["method"].items())),
            policies=dict(sorted(counts["policy"].items())),
            source=source.name,
            selection=_described(selection),
            created_at=now().isoformat(),
        )

    def _read(self, name: str) -> Snapshot:
        return Snapshot(**json.loads(self._files.cat_file(f"{self._root}/{name}.json")))

    def _put(self, name: str, content: bytes) -> None:
        if self._is_local:
            with _durably(Path(self._root) / name) as file:
                file.write(content)
        else:
            self._files.pipe_file(f"{self._root}/{name}", content)


@contextmanager
def _durably(path: Path) -> Iterator[IO[bytes]]:
    """A file that is there whole or not at all."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    with partial.open("wb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


async def _keep_images(blobs: Blobs, rows: list[Row]) -> None:
    await asyncio.gather(*(blobs.put(row.image) for row in rows if row.image is not None))


def _batches(rows: Iterator[Row], chosen: dict[str, bool]) -> Iterator[list[Row]]:
    batch: list[Row] = []
    for row in rows:
        if row.id in chosen:
            batch.append(row)
        if len(batch) == _BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _described(selection: Selection) -> dict[str, Any]:
    """The selection as JSON; of the ids that were asked for, how many they were."""
    said: dict[str, Any] = json.loads(json.dumps(asdict(selection), default=str))
    return said | {"ids": None if selection.ids is None else len(selection.ids)}


def _columns(row: Row, held_out: bool) -> dict[str, Any]:
    return {name: getattr(row, name) for name in SCHEMA.names if name != "held_out"} | {"held_out": held_out}
