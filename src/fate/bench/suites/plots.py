"""Plots as inline SVG and HTML: they take the width they are given, and the page's colours.

Positions across are percentages, so that text keeps its size on a telephone.
"""

from collections.abc import Mapping, Sequence
from html import escape

from fate.bench.report import Row
from fate.bench.rivals import PLANNERS
from fate.bench.suites.chosen import REFERENCE
from fate.bench.suites.tables import Book, interval_text, ratio_text

#: Height of a bar's row [px].
_ROW = 26


def bars(book: Book, cell: str, metric: str) -> str:
    """Return a bar with its interval for each policy, shortest first, on an axis from 0."""
    rows = [(p, row) for p in book.policies(cell) if (row := book.get(cell, p, metric))]
    if not rows:
        return ""
    top = max(max(row.high for _, row in rows), 1.0) * 1.04
    rows.sort(key=lambda each: each[1].mean)
    one = 100.0 / top
    lines = [
        f'<div class="bar{" ours" if _plain(policy) in PLANNERS else ""}">'
        f"<span>{escape(book.title(policy))}</span>"
        f'<svg height="{_ROW}">{_bar(row, one)}</svg>'
        f"<b>{interval_text(row)}</b></div>"
        for policy, row in rows
    ]
    return f'<div class="bars">{"".join(lines)}</div>'


def _bar(row: Row, one: float) -> str:
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
        f"<title>{escape(row.policy)}: {interval_text(row)}, n {row.n}</title>"
        f'<line class="one" x1="{one:.2f}%" x2="{one:.2f}%" y1="0" y2="{_ROW}"/>'
        f'<rect x="0" y="5" width="{end:.2f}%" height="{_ROW - 10}" rx="2"/>'
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
    body = "".join(
        f"<tr><th>{escape(book.title(policy))}</th>"
        + "".join(_heat_cell(book.get(cell, policy, metric)) for cell in shown.values())
        + "</tr>"
        for policy in rows
    )
    return (
        '<div class="wide"><table class="heat"><thead><tr><th></th>'
        f"{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _heat_cell(row: Row | None) -> str:
    if row is None:
        return "<td></td>"
    distance = min(abs(row.mean - 1.0) / 0.5, 1.0)
    colour = "--good" if row.mean < 1.0 else "--bad"
    return (
        f'<td title="{interval_text(row)}, n {row.n}" style="background:color-mix(in srgb, '
        f'var({colour}) {60 * distance:.0f}%, var(--panel))">{ratio_text(row.mean)}</td>'
    )


def _plain(policy: str) -> str:
    return policy.partition("?")[0]


def reference_note() -> str:
    """Return what the dotted line in bars is."""
    return f"The dotted line is {REFERENCE}; whiskers are 95 % bootstrap intervals over instances."
