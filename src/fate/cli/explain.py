"""`fate explain`: why a stage of a run went where it went."""

import re
from typing import Annotated

import msgspec
import typer

from fate.cli.replay import setup_of
from fate.domain.errors import FateError
from fate.domain.graph import Chunk
from fate.domain.messages import Record, Submitted
from fate.drivers.replay import Decision, decisions
from fate.drivers.trail import policy_weights
from fate.store.journal import Header, Journal
from fate.store.runs import RunStore
from fate.view.explain import decide
from fate.view.explain_text import explain_text
from fate.workflow.problems import suggest


def explain(
    run: Annotated[str, typer.Argument(metavar="RUN", help="`last`, a run's id, or its file.")],
    stage: Annotated[
        str, typer.Argument(metavar="STAGE", help="Stage, e.g. `draft`, `notes[3]`, `w-2/draft`.")
    ],
    every: Annotated[
        bool, typer.Option("--all", help="Every decision it was part of, not only its start.")
    ] = False,
    json_: Annotated[bool, typer.Option("--json", help="One JSON object per decision.")] = False,
) -> None:
    """Show the decision that started STAGE: what each device would have cost, and what won.

    Nothing of this is stored: the journal is replayed up to the decision, and the table is
    computed again from what the policy saw.
    """
    path = RunStore().find(run)
    with Journal.open(path) as journal:
        header, records = journal.header, list(journal.records())
    setup = setup_of(header, None, {})
    found = seen = 0
    for decision in decisions(records, setup):
        for chunk in _meant(decision, stage):
            seen += 1
            if not every and chunk not in decision.started:
                continue
            weights = policy_weights(setup, decision.snapshot)
            table = decide(header.cluster, decision.snapshot, decision.plan, chunk, weights)
            found += 1
            if json_:
                print(msgspec.json.encode(table).decode())
            else:
                print(("" if found == 1 else "\n") + explain_text(table))
    if not found:
        raise FateError(_missing(header, stage, seen, _stage_names(records)))


def _meant(decision: Decision, stage: str) -> list[Chunk]:
    return [chunk for chunk in decision.snapshot.chunks if _names(chunk, stage)]


def _names(chunk: Chunk, stage: str) -> bool:
    """Whether `stage` means a chunk: by instance, with or without workflow, or by item."""
    name, item = _split(stage)
    short = chunk.instance.rpartition("/")[2]
    here = name in (chunk.instance, short)
    return here and (item is None or chunk.start <= item < chunk.stop)


def _split(stage: str) -> tuple[str, int | None]:
    match = re.fullmatch(r"(.+)\[(\d+)\]", stage)
    return (match[1], int(match[2])) if match else (stage, None)


def _stage_names(records: list[Record]) -> list[str]:
    """Return the names of the stages of a journal, short."""
    return sorted(
        {
            stage.id
            for record in records
            for event in record.events
            if isinstance(event, Submitted)
            for stage in event.graph.stages
        }
    )


def _missing(header: Header, stage: str, seen: int, names: list[str]) -> str:
    name, _ = _split(stage)
    if seen:
        return (
            f"run {header.run}: {stage!r} was never started by a plan (the fallback or the wait "
            f"bound started it, or the run ended before); --all shows the plans it was part of"
        )
    if name.rpartition("/")[2] in names:
        return (
            f"run {header.run}: {stage!r} was never ready for a model call; tools are not planned"
        )
    return f"run {header.run} has no stage {stage!r}.{suggest(name, names)}"
