"""Plots as inline SVG and HTML: they take the width they are given, and the page's colours.

Positions across are percentages, so that text keeps its size on a telephone.
"""

from collections.abc import Callable, Mapping, Sequence
from html import escape
from itertools import accumulate, groupby

from fate.bench.report import Row, short_text
from fate.bench.rivals import PLANNERS
from fate.bench.suites.axis import tick_text, ticks
from fate.bench.suites.chosen import REFERENCE
from fate.bench.suites.tables import Book, Table, interval_text, ratio_text

#: Height of a bar's row, and of the numbers below all of them [px].
_ROW, _FOOT = 26, 18
#: The line at 1.
_ONE = '<line class="one" x1="{0:.2f}%" x2="{0:.2f}%" y1="0" y2="{1}"/>'


def bars(
    book: Book,
    cell: str,
    metric: str,
    title: str,
    *,
    ratio: bool = True,
    written: Callable[[Row], str] = interval_text,
) -> str:
    """Return a bar with its interval for each policy, shortest first, on an axis from 0.

    Args:
        book: the figures.
        cell: of which cell.
        metric: what bars are as long as.
        title: what the axis shows.
        ratio: the figures are ratios over the reference, which is a line at 1.
        written: how a figure is written beside its bar.
    """
    rows = [(p, row) for p in book.policies(cell) if (row := book.get(cell, p, metric))]
    rows.sort(key=lambda each: each[1].mean)
    top = max([row.high for _, row in rows] + ([1.0] if ratio else [])) * 1.04 if rows else 0.0
    if top <= 0.0:
        return ""
    one = 100.0 / top
    lines = [
        _line(book, policy, _bar(row, one, written(row), ratio=ratio), written(row))
        for policy, row in rows
    ]
    return _chart(title, lines, top)


def stacked(book: Book, cell: str, parts: Mapping[str, str], title: str) -> str:
    """Return for each policy a bar made of figures that add up, the shortest first.

    Args:
        book: the figures.
        cell: of which cell.
        parts: what a part is called -> its metric; in the order of the palette's colours.
        title: what the axis shows.
    """
    sums = {
        policy: [row.mean if row else 0.0 for row in rows]
        for policy in book.policies(cell)
        for rows in [[book.get(cell, policy, metric) for metric in parts.values()]]
        if any(rows)
    }
    top = max(map(sum, sums.values()), default=0.0) * 1.04
    if top <= 0.0:
        return ""
    lines = [
        _line(book, policy, _stack(sizes, list(parts), 100.0 / top), short_text(sum(sizes)))
        for policy, sizes in sorted(sums.items(), key=lambda each: sum(each[1]))
    ]
    return _chart(title, lines, top)


def _stack(sizes: Sequence[float], names: Sequence[str], one: float) -> str:
    """Return the parts of a bar, one behind the other."""
    begins = accumulate(sizes, initial=0.0)
    return "".join(
        f'<g class="part c{number}"><title>{escape(name)}: {short_text(size)}</title>'
        f'<rect x="{begin * one:.2f}%" y="5" width="{size * one:.2f}%" height="{_ROW - 10}"/></g>'
        for number, (name, size, begin) in enumerate(zip(names, sizes, begins, strict=False))
    )


def _line(book: Book, policy: str, drawn: str, text: str) -> str:
    """Return a policy's name, its bar, and its figure."""
    return (
        f'<div class="bar{" ours" if _plain(policy) in PLANNERS else ""}">'
        f"<span>{escape(book.title(policy))}</span>"
        f'<svg height="{_ROW}">{drawn}</svg><b>{escape(text)}</b></div>'
    )


def _chart(title: str, lines: Sequence[str], top: float) -> str:
    """Return bars on an axis from 0 to `top`."""
    one = 100.0 / top
    return (
        f'<div class="bars"><p class="axis">{escape(title)}</p>{"".join(lines)}'
        f'<div class="bar foot"><svg height="{_FOOT}">{_foot(top, one)}</svg></div></div>'
    )


def _foot(top: float, one: float) -> str:
    """Return the axis below bars."""
    return "".join(
        f'<line class="rule" x1="{x * one:.2f}%" x2="{x * one:.2f}%" y1="0" y2="4"/>'
        f'<text class="tick" x="{x * one:.2f}%" y="16">{tick_text(x)}</text>'
        for x in ticks(0.0, top)
    )


def _bar(row: Row, one: float, text: str, *, ratio: bool) -> str:
    middle = _ROW / 2
    end, low, high = row.mean * one, row.low * one, row.high * one
    marks = (
        f'<line class="whisker" x1="{low:.2f}%" x2="{high:.2f}%" y1="{middle}" y2="{middle}"/>'
        + "".join(
            f'<line class="whisker" x1="{x:.2f}%" x2="{x:.2f}%" '
            f'y1="{middle - 4}" y2="{middle + 4}"/>'
            for x in (low, high)
        )
    )
    return (
        f"<title>{escape(row.policy)}: {escape(text)}, n {row.n}</title>"
        + (_ONE.format(one, _ROW) if ratio else "")
        + f'<rect x="0" y="5" width="{end:.2f}%" height="{_ROW - 10}" rx="2"/>'
        + (marks if row.high > row.low else "")
    )


def heat(book: Book, rows: Sequence[str], columns: Mapping[str, str], metric: str) -> str:
    """Return a table of ratios, coloured by how far they are from 1.

    Args:
        book: the figures.
        rows: policies.
        columns: title -> cell.
        metric: a ratio.
    """
    shown = {
        title: cell
        for title, cell in columns.items()
        if any(book.get(cell, policy, metric) for policy in rows)
    }
    if not shown:
        return ""
    head = "".join(f"<th>{escape(title)}</th>" for title in shown)
    kinds = [(kind, len(list(own))) for kind, own in groupby(shown.items(), key=_kind)]
    above = "".join(f'<th colspan="{count}">{escape(kind)}</th>' for kind, count in kinds)
    above = f"<tr><th></th>{above}</tr>" if any(kind for kind, _ in kinds) else ""
    body = "".join(
        f"<tr><th>{escape(book.title(policy))}</th>"
        + "".join(_heat_cell(book.get(cell, policy, metric)) for cell in shown.values())
        + "</tr>"
        for policy in rows
    )
    return (
        f'<div class="wide"><table class="heat"><thead>{above}<tr><th></th>'
        f"{head}</tr></thead><tbody>{body}</tbody></table></div>{_scale()}"
    )


def heat_table(book: Book, rows: Sequence[str], columns: Mapping[str, str], metric: str) -> Table:
    """Return what `heat` shows as a table, intervals included; arguments are the same."""
    shown = [cell for cell in columns.values() if any(book.get(cell, p, metric) for p in rows)]
    lines = [
        (
            book.title(policy),
            *[interval_text(row) if row else "" for row in found],
        )
        for policy in rows
        for found in [[book.get(cell, policy, metric) for cell in shown]]
    ]
    return Table(("policy", *shown), lines)


def _kind(column: tuple[str, str]) -> str:
    """Return what a column is one of: the part of its group's name that its title leaves out."""
    title, cell = column
    return cell.removesuffix(title).strip()


def _scale() -> str:
    """Return what the colours stand for."""
    marks = "".join(
        f'<i style="background:{_colour(value)}">{ratio_text(value)[:-1]}</i>'
        for value in (0.5, 0.75, 1.0, 1.25, 1.5)
    )
    return f'<p class="scale">{marks}</p>'


def _heat_cell(row: Row | None) -> str:
    if row is None:
        return "<td></td>"
    return (
        f'<td title="{interval_text(row)}, n {row.n}" style="background:{_colour(row.mean)}">'
        f"{ratio_text(row.mean)}</td>"
    )


def _colour(ratio: float) -> str:
    """Return how a ratio is coloured: fully from .5 and 1.5 on, not at all at 1."""
    share = min(abs(ratio - 1.0) / 0.5, 1.0)
    name = "--shorter" if ratio < 1.0 else "--longer"
    return f"color-mix(in srgb, var({name}) {60 * share:.0f}%, var(--panel))"


def _plain(policy: str) -> str:
    return policy.partition("?")[0]


def reference_note() -> str:
    """Return what the dotted line in bars is."""
    return f"The dotted line is {REFERENCE}; whiskers are 95 % bootstrap intervals over instances."
