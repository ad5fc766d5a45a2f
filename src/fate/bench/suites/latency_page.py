"""The report of `fate bench latency`: decisions, the event loop, the runtime beside other tools."""

from collections.abc import Mapping, Sequence

from msgspec import structs

from fate.bench import overhead
from fate.bench.report import Report, Row, Target, short_text
from fate.bench.suites.document import Section
from fate.bench.suites.plain_page import Plain, write_plain
from fate.bench.suites.plots import bars
from fate.bench.suites.tables import Book, Table, spread_text

_PLAIN = Plain(
    lead="What scheduling itself costs: how long a decision takes, how late the event loop is "
    "while plans are made beside it, and what the runtime takes for an item whose work is nothing.",
    limits="Made-up chains on eight devices that exist in figures only: on other graphs decisions "
    "take more or less, with more devices they take more (`fate bench scale`). Wall time, so that "
    "whatever runs beside it is in it. Other tools were measured once, on a machine of the same "
    "class but not on this one, and do other things per item: of them only DBOS makes it durable.",
    virtual=False,
)
_DECISIONS = {
    "plan p50": "plan_ms_p50",
    "plan p99": "plan_ms_p99",
    "local search p50": "search_ms_p50",
    "local search p99": "search_ms_p99",
    "snapshot p50": "snapshot_ms_p50",
    "snapshot p99": "snapshot_ms_p99",
}
_LAG = {"p50": "lag_ms_p50", "p99": "lag_ms_p99", "p99.9": "lag_ms_p99.9"}
#: Where a shape's figures come from: `fate` stands for the runtime, whatever policy it ran under.
_PER_ITEM, _OWN = "us_per_item", "fate"
_TITLES = {_OWN: "FATE, journal on disk"}


def write_latency(report: Report, targets: Sequence[Target], asked: str) -> None:
    """Write report.md and report.html."""
    book = Book(report.rows)
    sections = [_decisions(book), _lag(book), _overhead(report.rows)]
    write_plain(report, _PLAIN, sections, targets, asked)


def _decisions(book: Book) -> Section:
    cells = [cell for cell in book.cells() if cell.startswith("decision-")]
    plots = [
        bars(book, cell, metric, f"{title} [ms]", ratio=False, written=spread_text)
        for cell in cells
        for title, metric in list(_DECISIONS.items())[:2]
    ]
    return Section(
        title="Decisions",
        text="Milliseconds of decisions at 32 ready calls on 8 devices, each policy's own of "
        "simulated runs. Of a plan of `fate` the local search is a part; the snapshot is what a "
        "policy is shown, and comes before. First plans, when everything is new, are in `fate "
        "bench scale`.",
        plots=tuple(filter(None, plots)),
        table=_table(book, cells, _DECISIONS, "plan_ms_p50"),
    )


def _lag(book: Book) -> Section:
    table = _table(book, ["event-loop"], _LAG, "lag_ms_p50")
    if not table.lines:
        return Section(title="")
    shares = [
        f"`{policy}` plans for {100 * row.mean:.0f} % of the run"
        for policy in book.policies("event-loop")
        if (row := book.get("event-loop", policy, "planning_share"))
    ]
    return Section(
        title="Event loop while planning",
        text="Milliseconds by which a tick of every millisecond is late, in the loop that runs "
        "everything else, while chains that all arrive at once are worked off by engines that "
        f"only wait: {', '.join(shares)}.",
        table=table,
    )


def _overhead(rows: Sequence[Row]) -> Section:
    """The runtime beside the anchors: bars for each shape, and a table of all."""
    book = _with_anchors(rows)
    shapes = book.cells()
    tools = [_OWN, *dict.fromkeys(tool for known in overhead.ANCHORS.values() for tool in known)]
    lines = [
        (
            shape,
            *[spread_text(row) if row else "" for row in found],
        )
        for shape in shapes
        for found in [[book.get(shape, tool, _PER_ITEM) for tool in tools]]
    ]
    plots = [
        bars(
            book,
            shape,
            _PER_ITEM,
            f"{shape} [us per item]",
            ratio=False,
            written=spread_text,
        )
        for shape in shapes
    ]
    return Section(
        title="Runtime per item",
        text="Microseconds of wall time per no-op item; medians, whiskers are 95 % bootstrap "
        "intervals over runs. `fate` keeps its journal on disk and runs under `late-eft`.",
        plots=tuple(plots),
        table=Table(("shape", *map(book.title, tools)), lines),
        folded=True,
    )


def _with_anchors(rows: Sequence[Row]) -> Book:
    """Return what the runtime takes per item, and what other tools do."""
    own = [structs.replace(row, policy=_OWN) for row in rows if row.metric == _PER_ITEM]
    anchors = [
        structs.replace(row, policy=tool, mean=value, low=value, high=value, n=1)
        for row in own
        for tool, value in overhead.ANCHORS.get(row.cell, {}).items()
    ]
    return Book([*own, *anchors], _TITLES)


def _table(book: Book, cells: Sequence[str], metrics: Mapping[str, str], first: str) -> Table:
    """Return a line for every policy that has the first figure, without columns nobody has."""
    policies = [(c, p) for c in cells for p in book.policies(c) if book.get(c, p, first)]
    known = {
        title: [_written(book.get(cell, policy, metric)) for cell, policy in policies]
        for title, metric in metrics.items()
    }
    shown = {title: column for title, column in known.items() if any(column)}
    lines = [
        (policy, *[column[i] for column in shown.values()], _n(book.get(cell, policy, first)))
        for i, (cell, policy) in enumerate(policies)
    ]
    return Table(("policy", *shown, "n"), lines)


def _written(row: Row | None) -> str:
    return "" if row is None else short_text(row.mean)


def _n(row: Row | None) -> str:
    return "" if row is None else str(row.n)
