"""`fate timeline`: a run, or two side by side, as one HTML file."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from fate.domain.messages import Record
from fate.drivers.setup import Setup
from fate.drivers.trail import trail
from fate.session import setup_of
from fate.store.journal import Header, Journal
from fate.store.runs import RunStore
from fate.view.columns import Sheet
from fate.view.fold import fold
from fate.view.metrics import Summary, summary
from fate.view.timeline import write_timeline


def timeline(
    run: Annotated[str, typer.Argument(metavar="RUN", help="`last`, a run's id, or its file.")],
    other: Annotated[
        str | None, typer.Option("--with", metavar="RUN", help="Another run to compare it with.")
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FILE", help="The page.")] = Path(
        "timeline.html"
    ),
) -> None:
    """Write RUN's timeline: devices, slots, loads and moves, memory, and every decision.

    The page is one file that asks nothing of any network. Click a bar for the decision behind it;
    decisions are recomputed from the journal. With --with two runs share one axis of time.
    """
    sheets = [kept_sheet(name) for name in ([run] if other is None else [run, other])]
    write_timeline(out, sheets)
    print(out)


def kept_sheet(run: str, figures: Summary | None = None) -> Sheet:
    """Return what the page shows of a run that is kept; see `sheet_of`."""
    path = RunStore().find(run)
    with Journal.open(path) as journal:
        header, records = journal.header, list(journal.records())
    return sheet_of(header, records, setup_of(header), figures)


def sheet_of(
    header: Header, records: Sequence[Record], setup: Setup, figures: Summary | None = None
) -> Sheet:
    """Return what the page shows of a run; `figures` where there are wall readings too."""
    history = fold(header.cluster, records)
    return Sheet(
        facts=header,
        history=history,
        summary=figures if figures is not None else summary(header, history),
        trail=trail(records, setup, history),
    )
