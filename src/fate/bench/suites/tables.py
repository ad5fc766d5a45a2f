"""Figures as tables: for the terminal, for Markdown and for the page alike."""

import re
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from fate.bench.report import Row, short_text
from fate.bench.suites.chosen import BEST_BASELINE, BEST_PUBLISHED, REFERENCE
from fate.bench.suites.results import Times

#: What figures begin with.
_BEGINS = frozenset("0123456789.-")
Lines = list[tuple[str, ...]]
#: Metrics that are a time in these units.
_TIMES = re.compile(r"(?:^|_)(?:ms|us)_")
NO_TITLES: Mapping[str, str] = MappingProxyType({})


class Table(NamedTuple):
    """A head and lines of text."""

    head: tuple[str, ...]
    lines: Lines


class Book:
    """Rows of a summary, looked up by cell, policy and metric.

    `titles` says what policies are called where their names are too long.
    """

    def __init__(self, rows: Sequence[Row], titles: Mapping[str, str] = NO_TITLES) -> None:
        self.rows, self._titles = rows, titles
        self._found = {(row.cell, row.policy, row.metric): row for row in rows}
        self._policies: dict[str, list[str]] = {}
        for row in rows:
            known = self._policies.setdefault(row.cell, [])
            if row.policy not in known:
                known.append(row.policy)

    def get(self, cell: str, policy: str, metric: str) -> Row | None:
        """Return a figure, if there is one."""
        return self._found.get((cell, policy, metric))

    def title(self, policy: str) -> str:
        """Return what a policy is called."""
        return self._titles.get(policy, policy)

    def cells(self) -> list[str]:
        """Return the cells, in the order of the summary."""
        return list(self._policies)

    def policies(self, cell: str) -> list[str]:
        """Return a cell's policies, quickest first where that is known."""

        def place(policy: str) -> float:
            row = self.get(cell, policy, f"makespan_over_{REFERENCE}")
            return row.mean if row else 1.0

        return sorted(self._policies.get(cell, []), key=place)


#: Columns of a pool's table: title, metric, and how the figure is written.
_COLUMNS = (
    (f"makespan / {REFERENCE}", f"makespan_over_{REFERENCE}", "interval"),
    (f"P95 / {REFERENCE}", f"p95_over_{REFERENCE}", "interval"),
    ("/ best published", f"makespan_over_{BEST_PUBLISHED}", "interval"),
    ("/ best baseline", f"makespan_over_{BEST_BASELINE}", "interval"),
    ("/ offline best", "makespan_over_offline-best", "interval"),
    (f"mean latency / {REFERENCE}", f"mean_over_{REFERENCE}", "short"),
    ("loads", "loads", "count"),
    ("tokens cached", "cached_share", "share"),
    ("GB moved", "moved_bytes", "giga"),
    ("slots idle", "idle_share", "share"),
    ("n", f"makespan_over_{REFERENCE}", "n"),
)

#: Columns of the table of where the time goes.
_SPENT = (
    ("loading", "load_share", "share"),
    ("fetching outputs", "transfer_share", "share"),
    ("shared prefixes", "prefix_share", "share"),
    ("own prompts and answers", "compute_share", "share"),
    ("slots idle", "idle_share", "share"),
    ("loads", "loads", "count"),
    ("evictions", "evictions", "count"),
)


def spent_table(book: Book, cells: Sequence[str]) -> Table:
    """Return where the time of each policy goes in some cells."""
    lines: Lines = [
        (cell, book.title(policy), *figures)
        for cell in cells
        for policy in book.policies(cell)
        for figures in [[_cell(book.get(cell, policy, m), how) for _, m, how in _SPENT]]
        if any(figures)
    ]
    return Table(("group", "policy", *[title for title, _, _ in _SPENT]), lines)


def pool_table(book: Book, cell: str) -> Table:
    """Return how policies did in a cell; columns without any figure are left out."""
    policies = book.policies(cell)
    cells = {
        title: [_cell(book.get(cell, policy, metric), how) for policy in policies]
        for title, metric, how in _COLUMNS
    }
    kept = [title for title, column in cells.items() if any(column)]
    lines: Lines = [
        (book.title(policy), *[cells[title][i] for title in kept])
        for i, policy in enumerate(policies)
    ]
    return Table(("policy", *kept), lines)


def planning_table(times: Sequence[Times], titles: Mapping[str, str] = NO_TITLES) -> Table:
    """Return what each policy's decisions took."""
    lines: Lines = []
    for policy in dict.fromkeys(each.policy for each in times):
        own = [each for each in times if each.policy == policy]
        decisions = sum(each.decisions for each in own)
        planner_s, cpu_s = sum(e.planner_cpu_s for e in own), sum(e.cpu_s for e in own)
        lines.append(
            (
                titles.get(policy, policy),
                str(len(own)),
                str(decisions),
                f"{1e3 * planner_s / max(decisions, 1):.3g}",
                f"{planner_s:.1f}",
                f"{cpu_s:.1f}",
            )
        )
    head = ("policy", "runs", "decisions", "ms per decision", "planning CPU s", "all CPU s")
    return Table(head, lines)


def text_columns(table: Table) -> set[int]:
    """Return the columns of words, the first among them; all others hold figures."""
    return {
        i
        for i in range(len(table.head))
        if i == 0 or not any(line[i][:1] in _BEGINS for line in table.lines if line[i])
    }


def figure_text(row: Row) -> str:
    """Write a figure: a count and a time as such, everything else as a ratio with its interval."""
    if row.metric.startswith("cells_"):
        return f"{row.mean:.0f}"
    return spread_text(row) if _TIMES.search(row.metric) else interval_text(row)


def metric_text(metric: str) -> str:
    """Return a metric's name in words."""
    return metric.replace("_", " ").replace("p95", "P95")


def _cell(row: Row | None, how: str) -> str:
    if row is None:
        return ""
    return _WRITTEN[how](row)


def ratio_text(value: float) -> str:
    """Write a ratio with three decimals and no zero before the point."""
    return f"{value:.3f}".replace("0.", ".", 1) if abs(value) < 1 else f"{value:.3f}"


def spread_text(row: Row) -> str:
    """Write a figure that is no ratio, with its interval."""
    if row.low == row.high:
        return short_text(row.mean)
    return f"{short_text(row.mean)} [{short_text(row.low)}, {short_text(row.high)}]"


def interval_text(row: Row) -> str:
    """Write a ratio with its interval."""
    if row.low == row.high:
        return ratio_text(row.mean)
    return f"{ratio_text(row.mean)} [{ratio_text(row.low)}, {ratio_text(row.high)}]"


_WRITTEN: dict[str, Callable[[Row], str]] = {
    "interval": interval_text,
    "short": lambda row: ratio_text(row.mean),
    "share": lambda row: f"{100 * row.mean:.0f} %",
    "count": lambda row: f"{row.mean:.1f}",
    "giga": lambda row: f"{row.mean / 1e9:.1f}",
    "n": lambda row: str(row.n),
}
