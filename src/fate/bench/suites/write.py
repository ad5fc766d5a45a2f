"""Puts a suite's report together: which sections, in which order."""

from collections.abc import Iterable, Sequence

from fate.bench.case import run_case
from fate.bench.machine import Machine
from fate.bench.offline import OFFLINE
from fate.bench.policies import ready_policy
from fate.bench.report import Report, Row, Target
from fate.bench.rivals import PLANNERS
from fate.bench.suites.chosen import LOWER_BOUND, REFERENCE, chosen
from fate.bench.suites.curves import curves, number_text
from fate.bench.suites.document import Document, Section, html, markdown
from fate.bench.suites.gantt import gantt, gantt_table
from fate.bench.suites.ladder import ladder_section
from fate.bench.suites.plots import bars, heat, heat_table, reference_note
from fate.bench.suites.problem import Problem
from fate.bench.suites.runner import Jobs, Results
from fate.bench.suites.suite import Suite
from fate.bench.suites.tables import (
    Book,
    Table,
    figure_text,
    interval_text,
    metric_text,
    planning_table,
    pool_table,
    spent_table,
)
from fate.view.fold import fold

REPORT_MD, REPORT_HTML = "report.md", "report.html"
_MAKESPAN = f"makespan_over_{REFERENCE}"
_TITLES = {"all": "All cells"}
#: The reference is drawn anyway; the others are no policies.
_NOT_RUN_AGAIN = (REFERENCE, LOWER_BOUND, OFFLINE)
#: What bars show: metric -> title of the axis.
_BARS = {
    _MAKESPAN: f"makespan over {REFERENCE}'s",
    f"p95_over_{REFERENCE}": f"P95 latency over {REFERENCE}'s",
}


def write_report(
    report: Report, suite: Suite, jobs: Jobs, results: Results, asked: str
) -> Document:
    """Write report.md and report.html into the suite's folder; return what they say.

    Args:
        report: the figures.
        suite: what was run.
        jobs: the job list; its drawn problem becomes the Gantt chart.
        results: what planning took, and what happened in the runs that are drawn.
        asked: seeds and command.
    """
    book, times = Book(report.rows, suite.titles), list(results.times.values())
    sections = [
        targets_section(book, suite.targets),
        *[_pool(book, suite, pool.name) for pool in suite.pools()[: suite.look.shown]],
        _spent(book, suite),
        _regimes(book, suite),
        _curve(book, suite),
        ladder_section(book, suite, times),
        _two_runs(book, suite, jobs.drawn, results),
        _cells(book, suite),
        Section(title="Planning", text=_PLANNING, table=planning_table(times, suite.titles)),
        Section(title="What this does not show", text=suite.look.limits),
    ]
    document = Document(
        title=f"fate bench {suite.name}",
        lead=suite.look.lead,
        facts=_facts(report.machine, suite, asked),
        sections=[each for each in sections if each.text or each.plots or each.table],
    )
    (report.out / REPORT_MD).write_text(markdown(document), encoding="utf-8")
    (report.out / REPORT_HTML).write_text(html(document), encoding="utf-8")
    return document


_PLANNING = (
    "Processor time of this machine, other processes and cold caches included: not part of the "
    "reproducible figures."
)


def _facts(machine: Machine, suite: Suite, asked: str) -> tuple[tuple[str, str], ...]:
    best = chosen(suite.name)
    return (
        ("command", asked),
        ("commit", machine.commit or f"fate {machine.fate}"),
        ("machine", machine.hardware),
        ("best published baseline", best.published),
        ("best baseline with late binding", best.late),
    )


def targets_section(book: Book, targets: Sequence[Target]) -> Section:
    """Return for each target whether it is reached, or that it is not measured."""
    if targets and not any(book.get(t.cell, t.policy, t.metric) for t in targets):
        about = ", ".join(dict.fromkeys(f"`{t.policy}` in `{t.cell}`" for t in targets))
        return Section(title="Targets", text=f"None is measured: they are about {about}.")
    lines: list[tuple[str, ...]] = []
    for target in targets:
        row = book.get(target.cell, target.policy, target.metric)
        what = f"{target.policy}, {metric_text(target.metric)}"
        if row is None:
            lines.append((target.cell, what, "", "", str(target), "not measured"))
            continue
        reached = "✓ reached" if target.reached(row) else "✗ missed"
        lines.append((target.cell, what, figure_text(row), str(row.n), str(target), reached))
    head = ("group", "figure", "measured", "n", "target", "")
    return Section(title="Targets", table=Table(head, lines) if lines else None)


def _pool(book: Book, suite: Suite, name: str) -> Section:
    plots = [bars(book, name, metric, title) for metric, title in _BARS.items()]
    table = pool_table(book, name)
    text = f"{suite.look.notes.get(name, '')} {reference_note()}".strip()
    return Section(
        title=_TITLES.get(name, name),
        text=text if any(plots) else "",
        plots=tuple(filter(None, plots)),
        table=table if table.lines else None,
        folded=True,
    )


def _spent(book: Book, suite: Suite) -> Section:
    """Where the time goes, in the groups that are shown."""
    table = spent_table(book, [pool.name for pool in suite.pools()[: suite.look.shown]])
    if not table.lines:
        return Section(title="")
    return Section(
        title="Where the time goes",
        text="Shares of the time that slots are busy; those idle are a share of all their time.",
        table=table,
        folded=True,
    )


def _regimes(book: Book, suite: Suite) -> Section:
    """The heat map: policies against groups of cells."""
    policies = [p for p in book.policies(next(iter(book.cells()), "")) if p != REFERENCE]
    shown = heat(book, policies, suite.look.columns, _MAKESPAN)
    if not shown:
        return Section(title="")
    return Section(
        title="Heat map",
        text=f"Makespan over {REFERENCE}'s: green is shorter, red is longer.",
        plots=(shown,),
        table=heat_table(book, policies, suite.look.columns, _MAKESPAN),
        drawn=True,
    )


def _curve(book: Book, suite: Suite) -> Section:
    """A line for each policy over groups that stand for numbers."""
    if not suite.look.axis:
        return Section(title="")
    known = list(dict.fromkeys(p for c in suite.look.axis.values() for p in book.policies(c)))
    # The reference is no line in most plots: last, so that colours are the same in all of them.
    policies = sorted(known, key=lambda policy: policy == REFERENCE)
    axis = [x for x, cell in suite.look.axis.items() if book.policies(cell)]
    if len(axis) < 2:
        return Section(title="")  # one point is no curve, and its bars are there
    plots: list[str] = []
    lines: list[tuple[str, ...]] = []
    for metric, title in suite.look.axis_metrics.items():
        series = {
            policy: [
                (x, row)
                for x, cell in suite.look.axis.items()
                if (row := book.get(cell, policy, metric)) is not None
            ]
            for policy in policies
        }
        drawn = {book.title(policy): line for policy, line in series.items() if line}
        plots.append(curves(drawn, suite.look.axis_title, title))
        lines += [(title, name, *_along(line, axis)) for name, line in drawn.items()]
    return Section(
        title=f"Over {suite.look.axis_title}",
        plots=tuple(filter(None, plots)),
        table=Table(("figure", "policy", *map(number_text, axis)), lines),
        folded=True,
    )


def _along(line: Sequence[tuple[float, Row]], axis: Iterable[float]) -> list[str]:
    """Return a curve's figures, empty where it has none."""
    found = dict(line)
    return [interval_text(found[x]) if x in found else "" for x in axis]


def _two_runs(book: Book, suite: Suite, drawn: Problem | None, results: Results) -> Section:
    """One instance under round-robin and under the planner that does best, or the best at all.

    What earlier rows are about is run again: they do not say what happened when.
    """
    if drawn is None or not suite.look.gantt:
        return Section(title="")
    known = book.policies(drawn.cell)
    policies = [policy for policy in known if policy not in _NOT_RUN_AGAIN]
    if not policies:
        return Section(title="")
    policies.sort(key=lambda policy: policy.partition("?")[0] not in PLANNERS)
    case = drawn.case(results.out)
    histories = {
        policy: results.histories.get(policy)
        or fold(case.cluster, run_case(case, ready_policy(policy)).records)
        for policy in (REFERENCE, policies[0])
    }
    text = (
        f"{drawn.label}. A bar is a call in its model's colour, or a load; a call begins "
        "with fetching what its parents left on other devices."
    )
    return Section(
        title="One instance, two policies",
        text=text,
        plots=(gantt(case.cluster, histories),),
        table=gantt_table(histories),
        drawn=True,
    )


def _cells(book: Book, suite: Suite) -> Section:
    """Every cell: its ratios over round-robin."""
    pooled = {pool.name for pool in suite.pools()}
    cells = [cell for cell in book.cells() if cell not in pooled]
    policies = list(dict.fromkeys(p for c in cells for p in book.policies(c) if p != REFERENCE))
    lines = [
        (cell, *[interval_text(row) if row else "" for row in rows])
        for cell in cells
        for rows in [[book.get(cell, policy, _MAKESPAN) for policy in policies]]
    ]
    head = ("cell", *[book.title(policy) for policy in policies])
    return Section(
        title="Cells",
        text=f"Makespan over {REFERENCE}'s, with 95 % intervals where a cell has several seeds.",
        table=Table(head, lines),
        folded=True,
    )
