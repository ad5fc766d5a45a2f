"""`fate runs`: the runs that are kept, how far each came, and which may go."""

import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, get_args

import msgspec
import typer

from fate.domain.errors import FateError
from fate.domain.units import MIB, parse_duration
from fate.store.journal import Journal
from fate.store.runs import RUN_FILE, RunInfo, RunStatus, RunStore, describe
from fate.view.fold import fold
from fate.view.history import StageSpan

app = typer.Typer(rich_markup_mode=None)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]

#: Stages that `show` prints as text.
_MOST_STAGES = 40


class Shown(msgspec.Struct, frozen=True, kw_only=True):
    """One run in full."""

    run: RunInfo
    path: str
    devices: tuple[str, ...]
    reasons: tuple[str, ...]
    stages: tuple[StageSpan, ...]


@app.callback(invoke_without_command=True)
def runs(context: typer.Context) -> None:
    """List, show and prune runs; without a command, list them."""
    if context.invoked_subcommand is None:
        list_()


@app.command("list")
def list_(*, as_json: AsJson = False) -> None:
    """List the runs, newest first, with their status and how many items are done.

    `interrupted` runs ended before their workflows did: `fate resume` goes on with them.
    """
    store = RunStore()
    found = [describe(run / RUN_FILE) for run in store.list()]
    if as_json:
        print(_json(found))
    elif not found:
        print(f"no runs in {store.root}")
    else:
        print(_table(found))


@app.command()
def show(
    run: Annotated[str, typer.Argument(metavar="RUN", help="`last`, a run's id, or its file.")],
    *,
    as_json: AsJson = False,
) -> None:
    """Show one run: where it ran, how far each stage came, why it failed, how to go on."""
    shown = _shown(RunStore().find(run))
    print(_json(shown) if as_json else _text(shown))


@app.command()
def prune(
    keep: Annotated[
        int | None, typer.Option(min=0, metavar="N", help="Keep the N newest runs.")
    ] = None,
    older_than: Annotated[
        str | None, typer.Option(metavar="AGE", help="Only runs older than this, as 30d or 12h.")
    ] = None,
    status: Annotated[
        list[str] | None,
        typer.Option(metavar="STATUS", help=f"Only these: {', '.join(get_args(RunStatus))}."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be deleted.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Delete runs with their outputs and journals: those that meet every given condition.

    A run that is going on is never deleted. Interrupted ones are deleted like others: say
    `--status ok` to keep what can still be resumed.
    """
    if keep is None and older_than is None and not status:
        raise FateError("prune: say what to delete: --keep N, --older-than AGE, --status STATUS")
    unknown = [name for name in status or () if name not in get_args(RunStatus)]
    if unknown:
        raise FateError(f"--status {unknown[0]}: one of {', '.join(get_args(RunStatus))}")
    store = RunStore()
    doomed = _doomed(store, keep or 0, older_than, status or ())
    if not doomed:
        print("nothing to delete")
        return
    print(_table(doomed))
    size = sum(run.size_bytes for run in doomed) / MIB
    what = f"{len(doomed)} run{'' if len(doomed) == 1 else 's'}, {size:.1f} MiB"
    if dry_run:
        print(f"would delete {what}")
        return
    if not yes and not sys.stdin.isatty():
        raise FateError("prune: nobody to ask; give --yes to delete, --dry-run to look")
    if yes or typer.confirm(f"delete {what}?"):
        for run in doomed:
            store.remove(store.root / run.id)
        print(f"deleted {what}")


def _doomed(
    store: RunStore, keep: int, older_than: str | None, status: Sequence[str]
) -> list[RunInfo]:
    """Return the runs that meet every condition; never one that is going on."""
    before: datetime | None = None
    if older_than is not None:
        try:
            before = datetime.now(UTC) - timedelta(seconds=parse_duration(older_than))
        except (ValueError, OverflowError) as error:
            raise FateError(f"--older-than: {error}") from None
    found: list[RunInfo] = []
    for folder in store.list()[keep:]:
        run = describe(folder / RUN_FILE)
        old = before is None or _changed(folder / RUN_FILE) < before
        if run.status != "running" and old and (not status or run.status in status):
            found.append(run)
    return found


def _changed(path: Path) -> datetime:
    return datetime.fromtimestamp(path.stat().st_mtime, UTC)


def _shown(path: Path) -> Shown:
    run = describe(path)
    if run.status == "unreadable":
        raise FateError(run.problem)
    with Journal.open(path) as journal:
        cluster = journal.header.cluster
        history = fold(cluster, journal.records())
    reasons = [f"{w.id}: {w.reason}" for w in history.workflows if w.reason]
    return Shown(
        run=run,
        path=str(path),
        devices=tuple([f"{d.id} ({d.engine})" for d in cluster.devices]),
        reasons=tuple(reasons),
        stages=history.stages,
    )


def _text(shown: Shown) -> str:
    run = shown.run
    again = f", resumed {run.interruptions} times" if run.interruptions > 1 else ", resumed once"
    lines = [
        f"run        {run.id}" + (" (simulated)" if run.simulated else ""),
        f"workflow   {run.workflow}",
        f"status     {run.status}" + (again if run.interruptions else ""),
        f"items      {run.items_done} of {run.items} done",
        f"started    {run.created_at}",
        f"policy     {run.policy}",
        f"devices    {', '.join(shown.devices)}",
        f"makespan   {_makespan(run)}",
        f"file       {shown.path}, {run.size_bytes / MIB:.1f} MiB",
        *[f"ended      {reason}" for reason in shown.reasons],
    ]
    rows = [("stage", "model", "items", "status")]
    for stage in shown.stages[:_MOST_STAGES]:
        total = "?" if stage.items is None else stage.items
        rows.append((stage.instance, stage.model or "-", f"{stage.done}/{total}", stage.status))
    lines += ["", *_columns(rows)]
    if len(shown.stages) > _MOST_STAGES:
        lines.append(f"and {len(shown.stages) - _MOST_STAGES} more; --json has all")
    if run.resumable:
        lines += ["", f"to go on: fate resume {run.id}"]
    return "\n".join(lines)


def _table(found: Sequence[RunInfo]) -> str:
    rows = [("run", "workflow", "status", "items", "started", "policy", "makespan")]
    for run in found:
        items = f"{run.items_done}/{run.items}"
        name = run.workflow + (" (simulated)" if run.simulated else "")
        started = run.created_at[:16].replace("T", " ")
        unread = run.status == "unreadable"
        rows.append(
            (run.id, run.problem[:60], run.status, "", "", "", "")
            if unread
            else (run.id, name, run.status, items, started, run.policy, _makespan(run))
        )
    return "\n".join(_columns(rows))


def _makespan(run: RunInfo) -> str:
    return "-" if run.makespan_s is None else f"{run.makespan_s:.1f} s"


def _columns(rows: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def _json(value: object) -> str:
    return msgspec.json.format(msgspec.json.encode(value), indent=2).decode()
