"""Plots as files of their own: the report's charts side by side, with their style and a legend in the file. Pure."""

from collections.abc import Mapping, Sequence

from markupsafe import Markup

from judgefree.improvement.chart import Series, chart, mark

_WIDTH, _HEIGHT, _LEGEND = 380, 250, 44
_HUES = ("#2c6fbb", "#c4571b", "#2f8f5b", "#8a4fb0")
_STYLE = Markup(
    "svg{{font-family:system-ui,sans-serif;font-size:11px;fill:#333}}"
    ".title{{font-size:13px;font-weight:600}} .note{{font-size:10px;font-weight:400;fill:#777}}"
    ".axis{{text-anchor:middle}} .level{{text-anchor:end}} .grid{{stroke:#ddd;fill:none}}"
    ".line{{fill:none;stroke-width:1.8;stroke:var(--hue)}}"
    ".whisker{{stroke:var(--hue);stroke-width:1.4;opacity:.5}}"
    ".served{{fill:var(--hue)}} .tried{{fill:#fff;stroke:var(--hue);stroke-width:1.5}}"
)


def plot(figures: Mapping[str, Sequence[Series]], rounds: int, note: str) -> str:
    """An SVG file: a chart for each figure by its title, all of the same series, `note` below."""
    series = next(iter(figures.values()))
    width = _WIDTH * len(figures)
    hues = Markup("").join(Markup(".s{}{{--hue:{}}}").format(at, hue) for at, hue in enumerate(_HUES))
    charts = Markup("").join(
        _placed(chart(title, "", found, rounds), at * _WIDTH) for at, (title, found) in enumerate(figures.items())
    )
    legend = Markup("").join(_entry(one, 50 + at * 190) for at, one in enumerate(series))
    said = Markup('<text class="note" x="50" y="{}">{}</text>').format(_HEIGHT + _LEGEND - 8, note)
    whole = Markup(
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {} {}" width="{}"><style>{}{}</style>'
        '<rect width="100%" height="100%" fill="#fff"/>{}{}{}</svg>\n'
    )
    return str(whole.format(width, _HEIGHT + _LEGEND, width, _STYLE.format(), hues, charts, legend, said))


def _placed(drawn: Markup, x: int) -> Markup:
    return Markup(str(drawn).replace("<svg ", f'<svg x="{x}" width="{_WIDTH}" height="{_HEIGHT}" ', 1))


def _entry(series: Series, x: int) -> Markup:
    sign = Markup(
        str(mark(series.place)).replace("<svg ", f'<svg x="{x - 7}" y="{_HEIGHT + 3}" width="14" height="14" ', 1)
    )
    return sign + Markup('<text x="{}" y="{}">{}</text>').format(x + 12, _HEIGHT + 14, series.name)
