"""Submitting a person's own images: find them, send them over HTTP with a bounded number in flight, note what came."""

import glob
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path

from judgefree.client import Client, Fields
from judgefree.ledger import Ledger
from judgefree.mistakes import Mistake
from pairs.errors import NotAnImage, QueueFull, TooLarge, UnknownPair
from pairs.model import Pair, PairId, Status

_MAGIC = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a")
_ONLY_IMAGE = re.compile(r"^image 0:? ")
"""How the gateway names the image that is meant; each request has one, and its file is named here."""


@dataclass(frozen=True)
class Found:
    """The images under the given paths, and the files that are none: those named outright, and those met in folders."""

    images: tuple[Path, ...]
    named_others: tuple[Path, ...]
    met_others: tuple[Path, ...]


@dataclass(frozen=True)
class Outcome:
    """What became of a file: its pair, or why there is none; `was_there` if an earlier run had it."""

    file: Path
    pair: Pair | None = None
    reason: str | None = None
    was_there: bool = False


@dataclass
class Tally:
    """The outcomes so far."""

    decisions: Counter[str] = field(default_factory=Counter)
    were_there: int = 0
    failures: list[Outcome] = field(default_factory=list)

    def add(self, outcome: Outcome) -> None:
        if outcome.was_there:
            self.were_there += 1
        elif outcome.pair is not None:
            self.decisions[str(outcome.pair.decision)] += 1
        else:
            self.failures.append(outcome)

    @property
    def finished(self) -> int:
        return self.were_there + self.decisions.total()


def find_images(paths: Sequence[str]) -> Found:
    """Resolve files, folders (with all below them, hidden ones excepted) and glob patterns, in order, each file once.

    Raises Mistake for a path under which there is nothing.
    """
    seen: set[Path] = set()
    images: list[Path] = []
    named: list[Path] = []
    met: list[Path] = []
    for path in (path for given in paths for path in _resolve(given)):
        files, others = (_files_below(path, set()), met) if path.is_dir() else (iter([path]), named)
        for file in files:
            real = file.resolve()
            if real not in seen:
                seen.add(real)
                (images if is_image(file) else others).append(file)
    return Found(tuple(images), tuple(named), tuple(met))


def is_image(file: Path) -> bool:
    """Whether a file begins like one of the formats that the gateway reads: JPEG, PNG, GIF or WebP.

    One that cannot be read is taken for an image, so that it has an outcome, which says why.
    """
    try:
        with file.open("rb") as opened:
            start = opened.read(12)
    except OSError:
        return True
    return start.startswith(_MAGIC) or (start[:4] == b"RIFF" and start[8:] == b"WEBP")


def submit_all(
    client: Client, files: Iterable[Path], fields: Fields, ledger: Ledger, concurrency: int, timeout_s: float
) -> Iterator[Outcome]:
    """Submit the files, at most `concurrency` of them in flight, and yield each one's outcome as it comes.

    What concerns one image (not readable, too large, failed in generation) is its outcome. What would meet every
    image, such as a gateway that is away or a field it refuses, is raised; the ledger lets the next run go on.
    """
    waiting = iter(files)
    running: set[Future[Outcome]] = set()
    pool = ThreadPoolExecutor(concurrency, thread_name_prefix="submit")
    try:
        while True:
            while len(running) < concurrency and (file := next(waiting, None)) is not None:
                running.add(pool.submit(_submit, client, file, fields, ledger, timeout_s))
            if not running:
                return
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                yield future.result()
    except BaseException:
        client.close()  # wakes the threads that wait in it
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _submit(client: Client, file: Path, fields: Fields, ledger: Ledger, timeout_s: float) -> Outcome:
    try:
        content = file.read_bytes()
        key = ledger.key(content, fields)
        pair_id = ledger.accepted(key)
        if pair_id is not None and ledger.is_finished(file, pair_id):
            return Outcome(file, was_there=True)
        if pair_id is None:
            pair_id = _accept(client, content, fields, key)
            ledger.accept(key, pair_id)
        try:
            pair = client.wait(pair_id, timeout_s)
        except UnknownPair:  # accepted by a gateway whose data is gone
            pair_id = _accept(client, content, fields, None)
            ledger.accept(key, pair_id)
            pair = client.wait(pair_id, timeout_s)
    except (NotAnImage, TooLarge, TimeoutError) as error:
        return Outcome(file, reason=_ONLY_IMAGE.sub("", str(error)))
    except OSError as error:
        return Outcome(file, reason=f"cannot be read: {error.strerror}")
    if pair.status is Status.FAILED:
        return Outcome(file, reason=f"pair {pair.id} failed: {pair.reason}")
    ledger.finish(file, pair)
    return Outcome(file, pair)


def _accept(client: Client, content: bytes, fields: Fields, key: str | None) -> PairId:
    """Send an image until the queue has room for it."""
    while True:
        try:
            return client.submit([content], fields, idempotency_key=key)[0].id
        except QueueFull:  # the client has waited as long as it does; a run of many images has more patience
            continue


def _resolve(given: str) -> list[Path]:
    try:
        path = Path(given).expanduser()
        if path.exists():
            return [path]
    except (OSError, RuntimeError) as error:  # a name that is too long, a `~user` who is not here
        raise Mistake(f"There is no file or folder {given}: {error}") from error
    if glob.has_magic(given):
        matches = sorted(Path(match) for match in glob.glob(str(path), recursive=True))  # noqa: PTH207 - it may be absolute
        if matches:
            return matches
        raise Mistake(f"No file matches {given}.")
    raise Mistake(f"There is no file or folder {given}.")


def _files_below(folder: Path, visited: set[Path]) -> Iterator[Path]:
    """The files below `folder`; a folder that is met again, by a link, is not entered again."""
    real = folder.resolve()
    if real in visited:
        return
    visited.add(real)
    try:
        entries = sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
        folders = {entry for entry in entries if entry.is_dir()}
        files = {entry for entry in entries if entry.is_file()}
    except OSError as error:
        raise Mistake(f"The folder {folder} cannot be read: {error.strerror}.") from error
    for entry in entries:
        if entry in folders:
            yield from _files_below(entry, visited)
        elif entry in files:
            yield entry
