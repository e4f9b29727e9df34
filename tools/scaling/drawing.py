"""Replicas and waiting pairs over time as an SVG file. Pure; the look is that of tools/plots.py."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from judgefree.improvement.chart import ticks_of

_WIDTH, _HEIGHT, _LEGEND = 420, 190, 30
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 12, 30, 30
_STRETCHES = 240
_SHORT_S = 5 * 3600
_HUES = ("#c4571b", "#2c6fbb")
_STYLE = (
    "svg{font-family:system-ui,sans-serif;font-size:11px;fill:#333}.title{font-size:12px;font-weight:600}"
    ".axis{text-anchor:middle}.level{text-anchor:end}.grid{stroke:#ddd;fill:none}.line{fill:none;stroke-width:1.6}"
)


@dataclass(frozen=True)
class Curve:
    """One value a second."""

    name: str
    values: Sequence[float]


def drawing(charts: Mapping[str, Sequence[Curve]], columns: int) -> str:
    """An SVG file: a chart for each title, `columns` in a row, all of curves with the same names in the same order."""
    rows = -(-len(charts) // columns)
    width, height = columns * _WIDTH, rows * _HEIGHT + _LEGEND
    placed = Markup("").join(
        Markup('<g transform="translate({},{})">{}</g>').format(
            at % columns * _WIDTH, at // columns * _HEIGHT, _chart(title, curves)
        )
        for at, (title, curves) in enumerate(charts.items())
    )
    names = [curve.name for curve in next(iter(charts.values()))]
    legend = Markup("").join(_entry(name, at, height) for at, name in enumerate(names))
    whole = Markup(
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {} {}" width="{}"><style>{}</style>'
        '<rect width="100%" height="100%" fill="#fff"/>{}{}</svg>\n'
    )
    return str(whole.format(width, height, width, Markup(_STYLE), placed, legend))


def _chart(title: str, curves: Sequence[Curve]) -> Markup:
    shown = [_thinned(curve.values) for curve in curves]
    ticks = ticks_of([0.0, *(value for values in shown for value in values)])
    seconds = max(len(curve.values) for curve in curves)
    drawn = [Markup('<text class="title" x="{}" y="16">{}</text>').format(_LEFT - 44, title)]
    drawn += [_level(tick, ticks) for tick in ticks]
    step = 30 if seconds <= _SHORT_S else 60
    drawn += [_minute(minute, seconds) for minute in range(0, seconds // 60 + 1, step)]
    lines = [_line(values, ticks, _HUES[at % len(_HUES)]) for at, values in enumerate(shown)]
    return Markup("").join([*drawn, *reversed(lines)])  # the first curve lies on top


def _thinned(values: Sequence[float]) -> list[float]:
    """The least and the greatest of each of at most `_STRETCHES`, in their order: no peak and no dip is lost."""
    length = max(1, -(-len(values) // _STRETCHES))
    shown = []
    for begin in range(0, len(values), length):
        stretch = values[begin : begin + length]
        ends = sorted((stretch.index(extreme), extreme) for extreme in (min(stretch), max(stretch)))
        shown += [value for _, value in ends]
    return shown


def _x(share: float) -> float:
    return _LEFT + share * (_WIDTH - _LEFT - _RIGHT)


def _y(value: float, ticks: Sequence[float]) -> float:
    return _HEIGHT - _BOTTOM - (value - ticks[0]) / (ticks[-1] - ticks[0]) * (_HEIGHT - _TOP - _BOTTOM)


def _level(tick: float, ticks: Sequence[float]) -> Markup:
    y = _y(tick, ticks)
    line = Markup('<path class="grid" d="M{},{:.1f}H{}"/><text class="level" x="{}" y="{:.1f}">{:,.10g}</text>')
    return line.format(_LEFT, y, _WIDTH - _RIGHT, _LEFT - 6, y + 3.5, tick)


def _minute(minute: int, seconds: int) -> Markup:
    text = Markup('<text class="axis" x="{:.1f}" y="{}">{}:{:02}</text>')
    return text.format(_x(minute * 60 / seconds), _HEIGHT - _BOTTOM + 16, minute // 60, minute % 60)


def _line(values: Sequence[float], ticks: Sequence[float], hue: str) -> Markup:
    corners = [at for at in range(len(values)) if at in (0, len(values) - 1) or len({*values[at - 1 : at + 2]}) > 1]
    points = "L".join(f"{_x(at / len(values)):.1f},{_y(values[at], ticks):.1f}" for at in corners)
    return Markup('<path class="line" stroke="{}" d="M{}"/>').format(hue, points)


def _entry(name: str, at: int, height: int) -> Markup:
    x, y = _LEFT + at * 260, height - 12
    line = Markup('<path class="line" stroke="{}" d="M{},{}h18"/><text x="{}" y="{}">{}</text>')
    return line.format(_HUES[at % len(_HUES)], x, y - 4, x + 24, y, name)
