"""A small line chart as inline SVG: points with their intervals, round by round. Pure; the page's style colours it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

_WIDTH, _HEIGHT = 380, 250
_LEFT, _RIGHT, _TOP, _BOTTOM = 50, 12, 34, 40
_TITLE_X = 12
_DODGE = 7.0
"""Between two series at one round, in pixels, so that their intervals stand beside each other."""
_TICKS = 5
_MARKS = ("M-4,0a4,4 0 1,0 8,0a4,4 0 1,0 -8,0z", "M-3.5,-3.5h7v7h-7z", "M0,-4.8L4.6,3.4H-4.6z", "M0,-5L5,0L0,5L-5,0z")
"""A circle, a square, a triangle, a diamond: series are told apart without their colours, too."""


@dataclass(frozen=True)
class Point:
    """A figure with its interval after a round; `is_served` unless the round's adapter was not promoted."""

    round: int
    value: float
    low: float
    high: float
    is_served: bool = True


@dataclass(frozen=True)
class Series:
    """The points of one data set; `place` decides its colour and mark, the same in every chart."""

    name: str
    place: int
    points: tuple[Point, ...]


def chart(title: str, note: str, series: Sequence[Series], rounds: int) -> Markup:
    """The figure `title` over the rounds 0 to `rounds`, whiskers from `low` to `high`.

    A line joins what was served from round to round; what was not promoted stands hollow beside it.
    """
    ticks = ticks_of([bound for one in series for point in one.points for bound in (point.low, point.high)])
    plane = _Plane(rounds, ticks[0], ticks[-1])
    drawn = [
        Markup('<text class="title" x="{}" y="16">{}<tspan class="note" dx="8">{}</tspan></text>').format(
            _TITLE_X, title, note
        ),
        *(_level(plane, tick, ticks[1] - ticks[0]) for tick in ticks),
        *(_column(plane, number) for number in _shown_rounds(rounds)),
        Markup('<text class="axis" x="{}" y="{}">round</text>').format((_LEFT + _WIDTH - _RIGHT) / 2, _HEIGHT - 6),
        *(_curve(plane, one, (index - (len(series) - 1) / 2) * _DODGE) for index, one in enumerate(series)),
    ]
    whole = Markup('<svg viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>')
    return whole.format(_WIDTH, _HEIGHT, f"{title} by round", Markup("").join(drawn))


def mark(place: int) -> Markup:
    """The mark of a series, for a legend."""
    return Markup('<svg class="mark" viewBox="-7 -7 14 14" aria-hidden="true"><g class="s{}">{}</g></svg>').format(
        place, _mark(place, 0, 0, "served")
    )


def ticks_of(values: Sequence[float]) -> list[float]:
    """Round numbers, evenly apart, from below the least of the values to above the greatest: about five of them."""
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    apart = (high - low) / (_TICKS - 1) or max(abs(low), 1.0) / 10
    magnitude: float = 10.0 ** math.floor(math.log10(apart))
    step = next(magnitude * factor for factor in (1, 2, 2.5, 5, 10) if magnitude * factor >= apart * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [index * step for index in range(first, max(last, first + 1) + 1)]


@dataclass(frozen=True)
class _Plane:
    """From rounds and figures to pixels."""

    rounds: int
    low: float
    high: float

    def x(self, number: int) -> float:
        inner = (_WIDTH - _LEFT - _RIGHT) / (self.rounds + 1)
        return _LEFT + inner * (number + 0.5)

    def y(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return _HEIGHT - _BOTTOM - share * (_HEIGHT - _TOP - _BOTTOM)


def _shown_rounds(rounds: int) -> range:
    return range(0, rounds + 1, 1 + rounds // 12)


def _level(plane: _Plane, value: float, step: float) -> Markup:
    digits = max(0, -math.floor(math.log10(step) + 1e-9) + (1 if f"{step:e}".startswith("2.5") else 0))
    line = Markup('<path class="grid" d="M{},{:.1f}H{}"/><text class="level" x="{}" y="{:.1f}">{}</text>')
    y = plane.y(value)
    return line.format(_LEFT, y, _WIDTH - _RIGHT, _LEFT - 7, y + 3.5, f"{value:.{digits}f}")


def _column(plane: _Plane, number: int) -> Markup:
    return Markup('<text class="axis" x="{:.1f}" y="{}">{}</text>').format(
        plane.x(number), _HEIGHT - _BOTTOM + 17, number
    )


def _curve(plane: _Plane, series: Series, shift: float) -> Markup:
    served = [(plane.x(point.round) + shift, plane.y(point.value)) for point in series.points if point.is_served]
    path = "M" + "L".join(f"{x:.1f},{y:.1f}" for x, y in served) if served else ""
    points = Markup("").join(_point(plane, series, point, shift) for point in series.points)
    return Markup('<g class="s{}"><path class="line" d="{}"/>{}</g>').format(series.place, path, points)


def _point(plane: _Plane, series: Series, point: Point, shift: float) -> Markup:
    x, kind = plane.x(point.round) + shift, "served" if point.is_served else "tried"
    said = f"{series.name}, round {point.round}: {point.value:.3f} ({point.low:.3f} to {point.high:.3f})"
    whisker = Markup('<path class="whisker" d="M{:.1f},{:.1f}V{:.1f}"/>').format(
        x, plane.y(point.low), plane.y(point.high)
    )
    return Markup("<g><title>{}</title>{}{}</g>").format(
        said, whisker, _mark(series.place, x, plane.y(point.value), kind)
    )


def _mark(place: int, x: float, y: float, kind: str) -> Markup:
    shape = _MARKS[place % len(_MARKS)]
    return Markup('<path class="{}" d="{}" transform="translate({:.1f},{:.1f})"/>').format(kind, shape, x, y)
