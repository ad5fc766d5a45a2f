"""The report of `fate bench live`: walls over those of others, where the time goes, counters."""

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

from fate.bench.report import Report, Row, Target, short_text
from fate.bench.suites.curves import legend
from fate.bench.suites.document import Section
from fate.bench.suites.plain_page import Plain, write_plain
from fate.bench.suites.plots import bars, stacked
from fate.bench.suites.tables import Book, Table, interval_text, spread_text

#: The cell that pools the pairs of those in which something can be gained.
ALL = "all"
_PLAIN = Plain(
    lead="Real engines and real models: two devices of one core each that hold one model at a "
    "time. The workflows of a cell run under one policy after the other, from empty devices to "
    "empty devices; every policy has the same calls and generates the same number of tokens, and "
    "with each seed another one is first.",
    limits="Small models on two cores, and cells of our own making: neither GPUs nor many devices "
    "nor anybody's real load. Walls on a shared machine vary by 10 to 20 % between identical runs; "
    "loads and computed tokens do not, so look at them first. Round-robin is easy to beat: compare "
    "with what binds late and sees the state, too. Costs are calibrated beforehand and learned "
    "from run to run, so that nothing here is a first run on an unknown machine.",
    virtual=False,
)
#: Uses of the devices that are always shown, and the one that is where states are moved.
_USES = {
    "load and unload": "load_s",
    "prefill": "prefill_s",
    "decode": "decode_s",
    "idle": "idle_s",
}
_MOVES = {"move states": "move_s"}
#: Columns of a table: title -> metric, and how figures are written.
Columns: TypeAlias = Mapping[str, tuple[str, Callable[[Row], str]]]


def _percent(row: Row) -> str:
    return f"{short_text(100 * row.mean)} %"


_COUNTERS: Columns = {
    "wall s": ("wall_s", spread_text),
    "loads": ("loads", spread_text),
    "prompt tokens": ("prompt_tokens", spread_text),
    "of which computed": ("computed_tokens", spread_text),
}
_EXPECTED: Columns = {
    "error before the start": ("prediction_error", interval_text),
    "error at half time": ("prediction_error_at_half", interval_text),
    "planning, of all cores": ("planner_cpu_share", _percent),
    "calls without a plan": ("fallback_share", _percent),
}


def write_live(
    report: Report, references: Sequence[str], targets: Sequence[Target], asked: str
) -> None:
    """Write report.md and report.html.

    Args:
        report: the figures.
        references: policies that others are compared with.
        targets: what figures should be.
        asked: the command.
    """
    book = Book(report.rows)
    cells = sorted(book.cells(), key=lambda cell: cell != ALL)
    sections = [
        *[_cell(book, cell, references, whole=cell == cells[0]) for cell in cells],
        _uses(book, cells),
        _figures(book, cells, "Loads and tokens", _COUNTED, _COUNTERS),
        _figures(book, cells, "What was expected, and what planning took", _FORETOLD, _EXPECTED),
    ]
    write_plain(report, _PLAIN, sections, targets, asked)


_COUNTED = (
    "Means of a run. What is not computed lies in a cache: of a prompt that ran before, on the "
    "device, under the model that is loaded."
)
_FORETOLD = (
    "Medians of how far off the expected end was, as a share of the wall. Planning is processor "
    "time of policy and core. A call is without a plan where a device would have waited for one."
)


def _cell(book: Book, cell: str, references: Sequence[str], *, whole: bool) -> Section:
    """Walls in a cell: bars over the first reference there is, over all of them in the first."""
    metrics = {other: f"wall_over_{other}" for other in references}
    policies = book.policies(cell)
    drawn = [
        plot
        for other, metric in metrics.items()
        if (plot := bars(book, cell, metric, f"wall over {other}'s"))
    ]
    rows = {policy: [book.get(cell, policy, m) for m in metrics.values()] for policy in policies}
    shown = [i for i in range(len(metrics)) if any(found[i] for found in rows.values())]
    lines = [
        (policy, *[interval_text(row) if (row := found[i]) else "" for i in shown], _count(found))
        for policy, found in rows.items()
        if any(found)
    ]
    head = ("policy", *[f"wall / {references[i]}" for i in shown], "n")
    return Section(
        title=_TITLES.get(cell, cell),
        text=_NOTES[whole] if drawn else "",
        plots=tuple(drawn if whole else drawn[:1]),
        table=Table(head, lines) if lines else None,
        folded=True,
    )


_TITLES = {ALL: "All cells in which something can be gained"}
_NOTES = {
    True: "The dotted line is whom the others are compared with; whiskers are 95 % bootstrap "
    "intervals over pairs of runs; a single pair has none.",
    False: "The dotted line is whom the others are compared with; other comparisons are in the "
    "table.",
}


def _count(rows: Sequence[Row | None]) -> str:
    """Return of how many pairs the figures are."""
    return next((str(row.n) for row in rows if row), "")


def _uses(book: Book, cells: Sequence[str]) -> Section:
    """Device-seconds of every policy in every cell that was run."""
    run = [cell for cell in cells if cell != ALL]
    moved = any(row.mean > 0.0 for row in book.rows if row.metric == "move_s")
    parts = _USES | (_MOVES if moved else {})
    columns: Columns = {title: (metric, spread_text) for title, metric in parts.items()}
    return Section(
        title="Where the time goes",
        text="Device-seconds of a run, in the mean, of both devices together.",
        plots=(legend(list(parts)), *[stacked(book, cell, parts, cell) for cell in run]),
        table=_table(book, run, columns),
        folded=True,
    )


def _figures(
    book: Book,
    cells: Sequence[str],
    title: str,
    text: str,
    columns: Columns,
) -> Section:
    return Section(title=title, text=text, table=_table(book, cells, columns))


def _table(book: Book, cells: Sequence[str], columns: Columns) -> Table:
    """Return a line for every cell and policy."""
    lines = [
        (
            cell,
            policy,
            *[
                written(row) if (row := book.get(cell, policy, metric)) else ""
                for metric, written in columns.values()
            ],
        )
        for cell in cells
        for policy in book.policies(cell)
    ]
    return Table(("cell", "policy", *columns), lines)
