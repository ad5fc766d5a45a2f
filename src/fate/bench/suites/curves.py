"""Lines with intervals over a numeric axis, as inline SVG."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise
from types import MappingProxyType

from fate.bench.report import Row
from fate.bench.suites.axis import tick_text, ticks
from fate.bench.suites.tables import interval_text

#: Height of the plot, and of its foot with the axis' numbers [px].
_HEIGHT, _FOOT, _HEAD = 260, 30, 10
#: Where the axis begins and ends [% of the width].
_LEFT, _RIGHT = 9.0, 96.0
#: Intervals of different lines at one place stand beside each other [% of the width].
_BESIDE = 0.7
#: Numbers of an axis are at least so far apart [% of the width].
_ROOM = 7.0
#: Lines of the page's palette, in the order of their use.
_COLOURS = 8
#: Powers of one half below one by this are written as fractions: 1/16, not 0.0625.
_COARSEST = 4
_NOTHING: Mapping[str, Row] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class _Frame:
    """What the axes span.

    Places of x are even: budgets double, shares do not, both are few. Where x is a measurement,
    and not what was chosen, places go by its logarithm.
    """

    xs: Sequence[float]
    low: float
    high: float
    measured: bool

    def across(self, x: float) -> float:
        """Return where x is [% of the width]."""
        first, last = self.xs[0], self.xs[-1]
        if first == last:
            share = 0.5
        elif self.measured:
            share = math.log(x / first) / math.log(last / first)
        else:
            share = self.xs.index(x) / (len(self.xs) - 1)
        return _LEFT + (_RIGHT - _LEFT) * share

    def labelled(self) -> list[float]:
        """Return each x that has room for its number beside the one before."""
        found: list[float] = []
        for x in self.xs:
            if not found or self.across(x) - self.across(found[-1]) >= _ROOM:
                found.append(x)
        return found

    def down(self, y: float) -> float:
        """Return where y is [px from the top]."""
        share = (self.high - y) / (self.high - self.low)
        return share * (_HEIGHT - _FOOT - _HEAD) + _HEAD


def curves(
    series: Mapping[str, Sequence[tuple[float, Row]]],
    across: str,
    up: str,
    levels: Mapping[str, Row] = _NOTHING,
    *,
    measured: bool = False,
) -> str:
    """Return lines with intervals over a numeric axis.

    Args:
        series: name -> (x, figure) by x.
        across: what x is.
        up: what the figures are.
        levels: name -> a figure on which x has no bearing, drawn all along it.
        measured: x was measured, above 0: its axis is logarithmic; else its steps are even.
    """
    points = [point for line in series.values() for point in line]
    if not points:
        return ""
    frame = _frame(points, levels, measured)
    parts = [_grid(frame), *[_tick(x, frame.across(x)) for x in frame.labelled()]]
    for number, (name, line) in enumerate(series.items()):
        aside = (number - (len(series) - 1) / 2) * _BESIDE
        parts.append(f'<g class="{_look(number)}">{_line(name, line, frame, aside)}</g>')
    for number, (name, row) in enumerate(levels.items(), len(series)):
        parts.append(f'<g class="{_look(number)}">{_level(name, row, frame)}</g>')
    return (
        f'<p class="axis">{escape(up)}</p>'
        f'<svg class="curve" height="{_HEIGHT}">{"".join(parts)}</svg>'
        f'<p class="axis across">{escape(across)}</p>{legend([*series, *levels])}'
    )


def _look(number: int) -> str:
    """Return a line's colour; those that have it a second time are dashed."""
    return f"c{number % _COLOURS}{' again' if number >= _COLOURS else ''}"


def legend(names: Sequence[str]) -> str:
    """Return names beside the colours of the palette, in this order."""
    marks = "".join(
        f'<span><i class="{_look(number)}"></i>{escape(name)}</span>'
        for number, name in enumerate(names)
    )
    return f'<p class="legend">{marks}</p>'


def _frame(
    points: Sequence[tuple[float, Row]], levels: Mapping[str, Row], measured: bool
) -> _Frame:
    means = [row.mean for row in levels.values()]
    low = min([row.low for _, row in points] + means)
    high = max([row.high for _, row in points] + means)
    margin = 0.05 * (high - low) or 0.05
    return _Frame(sorted({x for x, _ in points}), low - margin, high + margin, measured)


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
    return f'<text class="tick" x="{at:.2f}%" y="{_HEIGHT - 8}">{number_text(x)}</text>'


def number_text(x: float) -> str:
    """Write an x: small powers of one half as fractions, everything else with three digits."""
    above, below = x.as_integer_ratio()
    return f"{above}/{below}" if above == 1 and below > _COARSEST else f"{x:.3g}"


def _grid(frame: _Frame) -> str:
    """Return horizontal lines with what they stand for."""
    found: list[str] = []
    for value in ticks(frame.low, frame.high):
        y = frame.down(value)
        found.append(
            f'<line class="grid" x1="{_LEFT}%" x2="{_RIGHT}%" y1="{y:.1f}" y2="{y:.1f}"/>'
            f'<text class="label" x="0" y="{y + 4:.1f}">{tick_text(value)}</text>'
        )
    return "".join(found)
