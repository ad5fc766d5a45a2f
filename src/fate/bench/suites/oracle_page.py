"""The report of `fate bench oracle`: how far policies are from the optimum."""

from fate.bench.report import Report, Row
from fate.bench.suites.document import Section
from fate.bench.suites.plain_page import Plain, write_plain
from fate.bench.suites.plots import bars
from fate.bench.suites.tables import Book, Table, interval_text, ratio_text

_CELL, _RATIO = "oracle", "makespan_over_optimum"
_PLAIN = Plain(
    lead="Small random cases, twelve stages in two workflows on three devices unless others were "
    "asked for: makespans over the exact optimum, which knows everything beforehand.",
    limits="Cases this small leave little to look ahead to, and plans take no time. Where the "
    "optimum is not proved its place is taken by the best schedule that was found.",
)


def write_oracle(report: Report, asked: str) -> None:
    """Write report.md and report.html."""
    book = Book(report.rows)
    write_plain(report, _PLAIN, [_policies(book), _bounds(book)], [], asked)


def _policies(book: Book) -> Section:
    rows = [(p, row) for p in book.policies(_CELL) if (row := book.get(_CELL, p, _RATIO))]
    rows.sort(key=lambda each: each[1].mean)
    lines = [
        (policy, interval_text(row), _ratio(book.get(_CELL, policy, f"{_RATIO}_worst")), str(row.n))
        for policy, row in rows
    ]
    return Section(
        title="Over the optimum",
        text="The dotted line is the optimum; whiskers are 95 % bootstrap intervals over cases.",
        plots=(bars(book, _CELL, _RATIO, "makespan over the optimum"),),
        table=Table(("policy", "makespan / optimum", "worst case", "n"), lines),
        folded=True,
    )


def _bounds(book: Book) -> Section:
    bound, proved = (book.get(_CELL, "", m) for m in ("lower_bound_over_optimum", "proved"))
    if bound is None or proved is None:
        return Section(title="")
    lines = [
        ("lower bound over the optimum", interval_text(bound)),
        ("share of cases with a proved optimum", ratio_text(proved.mean)),
    ]
    return Section(title="Bounds", table=Table(("figure", "mean"), lines))


def _ratio(row: Row | None) -> str:
    return "" if row is None else ratio_text(row.mean)
