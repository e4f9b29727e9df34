"""What a run of `submit` has got: the output with one finished pair a line, and a journal of what was accepted.

The journal `<output>.journal` begins with the run's id and names the pair of every accepted request. A request's
idempotency key is derived from that id, the image and the fields. So a run that is broken off at any point goes on
without making a pair twice or losing one: what was accepted and journalled is waited for, what was accepted but not
journalled is found again by its key, what is in the output is left alone. Another output is another run.
"""

import fcntl
import hashlib
import json
import os
import threading
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self
from uuid import uuid4

from judgefree.client import Fields
from judgefree.mistakes import Mistake
from pairs.model import Pair, PairId


class Ledger:
    """The output and the journal of one run, open for one process. Safe to share between threads.

    Files are named in the output as they are given, or relative to `base`.
    """

    def __init__(self, output: Path, base: Path = Path()) -> None:
        """Raises Mistake when another process has the run open, or the output cannot be written or is not a run's.

        A file that no run has written is left as it is.
        """
        self._base = base
        self._lock = threading.Lock()
        journal = output.with_name(f"{output.name}.journal")
        with ExitStack() as opened:
            try:
                if not journal.exists() and output.is_file() and output.stat().st_size > 0:
                    raise _foreign(output)
                output.parent.mkdir(parents=True, exist_ok=True)
                self._journal = opened.enter_context(journal.open("ab+"))
                fcntl.flock(self._journal, fcntl.LOCK_EX | fcntl.LOCK_NB)
                self._out = opened.enter_context(output.open("ab+"))
            except BlockingIOError:
                raise Mistake(
                    f"Another `judgefree submit` is writing {output}; wait for it or choose another --out."
                ) from None
            except OSError as error:
                raise Mistake(f"The output {output} cannot be written: {error.strerror}.") from error
            self._go_on(output, journal)
            self._files = opened.pop_all()

    def _go_on(self, output: Path, journal: Path) -> None:
        """Read what the run has got, or begin it; nothing is cut away before both files are known to be a run's."""
        entries, journal_bytes = _whole_lines(self._journal, journal, ({"run"}, {"key", "id"}))
        lines, output_bytes = _whole_lines(self._out, output, ({"file", "id"},))
        self._run = next((str(entry["run"]) for entry in entries if "run" in entry), "")
        if not self._run and output.stat().st_size > 0:
            raise _foreign(output)
        self._journal.truncate(journal_bytes)
        self._out.truncate(output_bytes)
        self._accepted = {entry["key"]: PairId(entry["id"]) for entry in entries if "key" in entry}
        self._finished = {(line["file"], line["id"]) for line in lines}
        if not self._run:
            self._run = uuid4().hex
            _append(self._journal, {"run": self._run})

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._files.close()

    def key(self, content: bytes, fields: Fields) -> str:
        """The idempotency key of a request in this run."""
        image = hashlib.sha256(content).hexdigest()
        return hashlib.sha256(f"{self._run}:{image}:{fields.model_dump_json()}".encode()).hexdigest()

    def accepted(self, key: str) -> PairId | None:
        """The pair that a request became, if it is known."""
        return self._accepted.get(key)

    def is_finished(self, file: Path, pair_id: PairId) -> bool:
        return (self._name(file), pair_id) in self._finished

    def accept(self, key: str, pair_id: PairId) -> None:
        with self._lock:
            self._accepted[key] = pair_id
            _append(self._journal, {"key": key, "id": pair_id})

    def finish(self, file: Path, pair: Pair) -> None:
        with self._lock:
            self._finished.add((self._name(file), pair.id))
            _append(self._out, {"file": self._name(file)} | pair.model_dump(mode="json"))

    def _name(self, file: Path) -> str:
        return str(file.relative_to(self._base) if file.is_relative_to(self._base) else file)


def _whole_lines(file: IO[bytes], name: Path, kinds: Sequence[set[str]]) -> tuple[list[dict[str, Any]], int]:
    """The entries of a file and their size in bytes, a last line that was broken off in the writing left out.

    Raises Mistake when a line is no entry: an entry has all the names of one of `kinds`.
    """
    file.seek(0)
    content = file.read()
    size = content.rfind(b"\n") + 1
    try:
        entries = [json.loads(line) for line in content[:size].splitlines()]
    except ValueError as error:
        raise _foreign(name) from error
    are_ours = all(isinstance(entry, dict) and any(kind <= entry.keys() for kind in kinds) for entry in entries)
    if not are_ours or not b'{"'.startswith(content[size:][:2]):
        raise _foreign(name)
    return entries, size


def _foreign(file: Path) -> Mistake:
    return Mistake(f"{file} is no output of `judgefree submit`, and is left as it is; choose another --out.")


def _append(file: IO[bytes], entry: dict[str, Any]) -> None:
    file.write(json.dumps(entry).encode() + b"\n")
    file.flush()
    os.fsync(file.fileno())
