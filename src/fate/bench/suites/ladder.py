"""The report of policies that are one with more and more of something: a curve and its table."""

from collections.abc import Sequence
from dataclasses import dataclass

from fate.bench.report import Row
from fate.bench.suites.chosen import REFERENCE
from fate.bench.suites.curves import curves, number_text
from fate.bench.suites.document import Section
from fate.bench.suites.results import Times
from fate.bench.suites.suite import Suite
from fate.bench.suites.tables import Book, Table, interval_text

_MAKESPAN = f"makespan_over_{REFERENCE}"
_UP = f"makespan over {REFERENCE}'s"
_TEXT = (
    "What a decision tries is counted, so that it is the same everywhere; what that takes is "
    "processor time of this machine. Steps of the first axis are even, whatever lies between them; "
    "the second one is logarithmic."
)


@dataclass(frozen=True, slots=True)
class _Rung:
    """A policy's place: how much, and what it came to."""

    share: float
    policy: str
    searched: float
    milliseconds: float
    figure: Row


def ladder_section(book: Book, suite: Suite, times: Sequence[Times]) -> Section:
    """Return the figures of a suite's first group over what the policies have more and more of."""
    look, cell = suite.look, suite.pools()[0].name
    rungs = [
        _Rung(share, policy, _searched(book, cell, policy), _milliseconds(times, policy), figure)
        for share, policy in look.ladder.items()
        if (figure := book.get(cell, policy, _MAKESPAN)) is not None
    ]
    if not rungs:
        return Section(title="")
    levels = {
        book.title(policy): row
        for policy in book.policies(cell)
        if policy not in look.ladder.values()
        and (row := book.get(cell, policy, _MAKESPAN)) is not None
    }
    name = rungs[-1].policy.partition("?")[0]
    plots = [
        curves({name: [(r.share, r.figure) for r in rungs]}, look.ladder_title, _UP, levels),
        curves(
            {name: sorted([(r.milliseconds, r.figure) for r in rungs], key=lambda point: point[0])},
            "processor time of a decision [ms]",
            _UP,
            levels,
            measured=True,
        ),
    ]
    return Section(
        title=f"Over the {look.ladder_title}",
        text=f"Group {cell}. {_TEXT}",
        plots=tuple(plots),
        table=_table(rungs, look.ladder_title),
    )


def _table(rungs: Sequence[_Rung], title: str) -> Table:
    lines = [
        (
            number_text(rung.share),
            interval_text(rung.figure),
            f"{rung.searched:.0f}",
            f"{rung.milliseconds:.3g}",
            str(rung.figure.n),
            rung.policy,
        )
        for rung in rungs
    ]
    head = (
        title,
        f"makespan / {REFERENCE}",
        "tried in a decision",
        "ms in a decision",
        "n",
        "policy",
    )
    return Table(head, lines)


def _searched(book: Book, cell: str, policy: str) -> float:
    """Return how much a decision tries, on average."""
    tried, asked = (book.get(cell, policy, metric) for metric in ("searched", "decisions"))
    return tried.mean / asked.mean if tried and asked and asked.mean else 0.0


def _milliseconds(times: Sequence[Times], policy: str) -> float:
    """Return the processor time of a decision [ms]."""
    own = [each for each in times if each.policy == policy]
    decisions = sum([each.decisions for each in own])
    return 1e3 * sum([each.planner_cpu_s for each in own]) / max(decisions, 1)
