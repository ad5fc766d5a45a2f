"""Lines with intervals over a numeric axis, as inline SVG."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise
from types import MappingProxyType

from fate.bench.report import Row
from fate.bench.suites.tables import interval_text

#: Height of the plot, and of its foot with the axis' numbers [px].
_HEIGHT, _FOOT, _HEAD = 260, 30, 10
#: Where the axis begins and ends [% of the width].
_LEFT, _RIGHT = 9.0, 96.0
#: Intervals of different lines at one place stand beside each other [% of the width].
_BESIDE = 0.7
#: Lines of the page's palette, in the order of their use.
_COLOURS = 8
_NOTHING: Mapping[str, Row] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class _Frame:
    """What the axes span. Places of x are even: budgets double, shares do not, both are few."""

    xs: Sequence[float]
    low: float
    high: float

    def across(self, x: float) -> float:
        """Return where x is [% of the width]."""
        share = self.xs.index(x) / (len(self.xs) - 1) if len(self.xs) > 1 else 0.5
        return _LEFT + (_RIGHT - _LEFT) * share

    def down(self, y: float) -> float:
        """Return where y is [px from the top]."""
        share = (self.high - y) / (self.high - self.low)
        return share * (_HEIGHT - _FOOT - _HEAD) + _HEAD


def curves(
    series: Mapping[str, Sequence[tuple[float, Row]]],
    across: str,
    up: str,
    levels: Mapping[str, Row] = _NOTHING,
) -> str:
    """Return lines with intervals over a numeric axis.

    Args:
        series: name -> (x, figure) by x.
        across: what x is.
        up: what the figures are.
        levels: name -> a figure on which x has no bearing, drawn all along it.
    """
    points = [point for line in series.values() for point in line]
    if not points:
        return ""
    frame = _frame(points, levels)
    parts = [_grid(frame), *[_tick(x, frame.across(x)) for x in frame.xs]]
    for number, (name, line) in enumerate(series.items()):
        aside = (number - (len(series) - 1) / 2) * _BESIDE
        parts.append(f'<g class="c{number % _COLOURS}">{_line(name, line, frame, aside)}</g>')
    for number, (name, row) in enumerate(levels.items(), len(series)):
        parts.append(f'<g class="c{number % _COLOURS}">{_level(name, row, frame)}</g>')
    legend = "".join(
        f'<span class="c{number % _COLOURS}"><i></i>{escape(name)}</span>'
        for number, name in enumerate([*series, *levels])
    )
    return (
        f'<p class="axis">{escape(up)}, over {escape(across)}</p>'
        f'<svg class="curve" height="{_HEIGHT}">{"".join(parts)}</svg>'
        f'<p class="legend">{legend}</p>'
    )


def _frame(points: Sequence[tuple[float, Row]], levels: Mapping[str, Row]) -> _Frame:
    means = [row.mean for row in levels.values()]
    low = min([row.low for _, row in points] + means)
    high = max([row.high for _, row in points] + means)
    margin = 0.05 * (high - low) or 0.05
    return _Frame(sorted({x for x, _ in points}), low - margin, high + margin)


def _line(name: str, line: Sequence[tuple[float, Row]], frame: _Frame, aside: float) -> str:
    places = [(frame.across(x) + aside, frame.down(row.mean), row) for x, row in line]
    parts = [
        f'<line x1="{a[0]:.2f}%" y1="{a[1]:.1f}" x2="{b[0]:.2f}%" y2="{b[1]:.1f}"/>'
        for a, b in pairwise(places)
    ]
    parts += [
        f'<line class="spread" x1="{x:.2f}%" y1="{frame.down(row.high):.1f}" '
        f'x2="{x:.2f}%" y2="{frame.down(row.low):.1f}"/>'
        for x, _, row in places
        if row.high > row.low
    ]
    parts += [
        f'<circle cx="{x:.2f}%" cy="{y:.1f}" r="3.5"><title>{escape(name)}: '
        f"{interval_text(row)}</title></circle>"
        for x, y, row in places
    ]
    return "".join(parts)


def _level(name: str, row: Row, frame: _Frame) -> str:
    y = frame.down(row.mean)
    return (
        f'<line class="level" x1="{_LEFT}%" x2="{_RIGHT}%" y1="{y:.1f}" y2="{y:.1f}">'
        f"<title>{escape(name)}: {interval_text(row)}</title></line>"
    )


def _tick(x: float, at: float) -> str:
    return f'<text class="tick" x="{at:.2f}%" y="{_HEIGHT - 8}">{x:.3g}</text>'


def _grid(frame: _Frame) -> str:
    """Return five horizontal lines with what they stand for."""
    found: list[str] = []
    for i in range(5):
        value = frame.low + (frame.high - frame.low) * i / 4
        y = frame.down(value)
        found.append(
            f'<line class="grid" x1="{_LEFT}%" x2="{_RIGHT}%" y1="{y:.1f}" y2="{y:.1f}"/>'
            f'<text class="label" x="0" y="{y + 4:.1f}">{value:.2f}</text>'
        )
    return "".join(found)
