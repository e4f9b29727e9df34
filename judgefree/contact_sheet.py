"""A contact sheet of pairs: one self-contained HTML file, readable anywhere without a network."""

from base64 import b64encode
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from pairs.model import Answer, Decision, Pair

_SMALL_PX = 160
"""Pictures smaller than this are enlarged without smoothing, so that their pixels show."""


@dataclass(frozen=True)
class Entry:
    """A finished pair and the file that shows it: the image's bytes, of the pair's media type."""

    name: str
    image: bytes
    pair: Pair

    @property
    def data_uri(self) -> str:
        return f"data:{self.pair.image.media_type};base64,{b64encode(self.image).decode()}"

    @property
    def is_small(self) -> bool:
        return max(self.pair.image.width, self.pair.image.height) < _SMALL_PX

    @property
    def answers(self) -> tuple["Shown", ...]:
        """Both answers, the chosen one first; under their own names where neither is chosen."""
        if self.pair.answers is None:
            return ()
        normal, injected = self.pair.answers.normal, self.pair.answers.injected
        match self.pair.decision:
            case Decision.KEPT:
                return Shown("chosen", "the model's own answer", normal), Shown("rejected", "injected", injected)
            case Decision.SWAPPED:
                return Shown("chosen", "injected", injected), Shown("rejected", "the model's own answer", normal)
        return Shown("neither", "the model's own answer", normal), Shown("neither", "injected", injected)


@dataclass(frozen=True)
class Shown:
    role: str
    origin: str
    answer: Answer


@dataclass(frozen=True)
class Scale:
    """Where a sentence's cosine stands between the lowest and the highest of the sheet, as a share in [0, 1]."""

    low: float
    high: float

    def __call__(self, score: float) -> float:
        return 0.5 if self.high <= self.low else (score - self.low) / (self.high - self.low)


def scale_of(pairs: Iterable[Pair]) -> Scale:
    scores = [
        sentence.score
        for pair in pairs
        if pair.answers is not None
        for answer in (pair.answers.normal, pair.answers.injected)
        for sentence in answer.sentences
    ]
    return Scale(min(scores), max(scores)) if scores else Scale(0.0, 0.0)


def contact_sheet(entries: Sequence[Entry], title: str, most: int | None = None) -> str:
    """The sheet as HTML; all entries are counted, and the first `most` are shown."""
    environment = Environment(
        loader=PackageLoader("judgefree"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    counts = Counter(str(entry.pair.decision) for entry in entries)
    shown = entries[:most]
    scale = scale_of(entry.pair for entry in shown)
    return environment.get_template("contact_sheet.html.j2").render(
        title=title, entries=shown, counts=counts, scale=scale
    )


def write_sheet(file: Path, entries: Sequence[Entry], title: str, most: int | None = None) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(contact_sheet(entries, title, most), encoding="utf-8")
