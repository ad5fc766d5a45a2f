"""The report of `fate bench scale`: curves over stages, exponents, every cell."""

import re
from collections.abc import Sequence

from fate.bench.report import Report, Row, Target, short_text
from fate.bench.suites.curves import curves
from fate.bench.suites.document import Section
from fate.bench.suites.plain_page import Plain, write_plain
from fate.bench.suites.tables import Book, Table

_CELL = re.compile(r"(\d+) stages, (\d+) devices")
_PLAIN = Plain(
    lead="Chains of five calls that all arrive at once: what a decision takes with more and more "
    "stages waiting, and with more devices.",
    limits="Processor time of this machine, cold caches included. Chains on made-up figures: what "
    "a decision takes on other graphs differs. Policies that see all stages see the nearest "
    "thousand at most. The first decisions are timed, when most is waiting.",
)
_COLUMNS = {
    "plan_ms": "plan ms",
    "core_ms": "core ms",
    "decision_ms": "decision ms",
    "decisions": "decisions",
    "memory_mib": "core MiB",
    "memory_kib_per_stage": "KiB per stage",
}
_GROWTH = {
    "exponent_of_stages": "exponent of stages",
    "exponent_of_devices": "exponent of devices",
    "decision_growth": "decision, most over fewest stages",
    "memory_growth": "memory per stage, most over fewest",
}


def write_scale(report: Report, targets: Sequence[Target], asked: str) -> None:
    """Write report.md and report.html."""
    book = Book(report.rows)
    write_plain(report, _PLAIN, [_curves(book), _growth(book), _cells(book)], targets, asked)


def _curves(book: Book) -> Section:
    """A curve over stages for each policy and number of devices."""
    series: dict[str, list[tuple[float, Row]]] = {}
    for cell in book.cells():
        found = _CELL.fullmatch(cell)
        for policy in book.policies(cell) if found else ():
            row = book.get(cell, policy, "decision_ms")
            if found is not None and row is not None:
                line = series.setdefault(f"{policy}, {found[2]} devices", [])
                line.append((float(found[1]), row))
    known = {name: sorted(line, key=lambda point: point[0]) for name, line in series.items()}
    plot = curves(known, "stages that wait", "processor time of a decision [ms]", measured=True)
    return Section(title="Over the stages that wait", plots=(plot,) if plot else ())


def _growth(book: Book) -> Section:
    lines = [
        (policy, *[_written(book.get("growth", policy, metric)) for metric in _GROWTH])
        for policy in book.policies("growth")
    ]
    return Section(
        title="Growth",
        text="A decision takes the number of stages, or of devices, to the power of its exponent: "
        "0 where it has no bearing, 1 where it is in proportion.",
        table=Table(("policy", *_GROWTH.values()), lines),
    )


def _cells(book: Book) -> Section:
    lines = [
        (cell, policy, *[_written(book.get(cell, policy, metric)) for metric in _COLUMNS])
        for cell in book.cells()
        if cell != "growth"
        for policy in book.policies(cell)
    ]
    return Section(title="Cells", table=Table(("cell", "policy", *_COLUMNS.values()), lines))


def _written(row: Row | None) -> str:
    return "" if row is None else short_text(row.mean)
