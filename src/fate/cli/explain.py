"""`fate explain`: why a stage of a run went where it went."""

import re
from collections.abc import Iterator
from typing import Annotated, Any

import msgspec
import typer

from fate.domain.errors import FateError
from fate.domain.graph import Chunk, Stage, written_id
from fate.domain.messages import Record, Submitted
from fate.drivers.regrets import regrets
from fate.drivers.replay import decisions
from fate.session import setup_of
from fate.store.journal import Header, Journal
from fate.store.runs import RunStore
from fate.view.explain import decide
from fate.view.explain_text import explain_text
from fate.view.trail import Explained, explained
from fate.view.waits import Held, held, spells
from fate.view.words import sentences
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

    Then in words what each other device would have made of it, and the plans that held it back
    before. Nothing of this is stored: the journal is replayed up to the decision, and the table
    is computed again from what the policy saw.
    """
    path = RunStore().find(run)
    with Journal.open(path) as journal:
        header, records = journal.header, list(journal.records())
    found, seen = 0, 0
    for one in _explained(header, records, stage, every=every):
        seen += 1
        if one is None:
            continue
        found += 1
        if json_:
            print(msgspec.json.encode(_as_json(one)).decode())
        else:
            print(("" if found == 1 else "\n") + explain_text(one))
    if not found:
        raise FateError(_missing(header, stage, seen, _stage_names(records)))


def _explained(
    header: Header, records: list[Record], stage: str, *, every: bool
) -> Iterator[Explained | None]:
    """Yield the decisions about what `stage` means; None for one that only held it back."""
    setup = setup_of(header)
    devices = tuple(device.id for device in header.cluster.devices)
    asides = spells(records)
    before: dict[Chunk, list[Held]] = {}
    for decision in decisions(records, setup, check=True):
        for chunk in decision.snapshot.chunks:
            if not names(chunk, stage):
                continue
            waits = before.setdefault(chunk, [])
            started = chunk in decision.started
            if started or every:
                table = decide(
                    header.cluster,
                    decision.snapshot,
                    decision.plan,
                    chunk,
                    regrets(setup.policy, decision.snapshot, decision.plan, chunk),
                    decision.drained,
                )
                yield explained(table, tuple(waits) if started else (), asides)
            else:
                yield None
            step = held(decision.plan, devices, chunk, decision.at_s, decision.snapshot.version)
            waits.append(step)


def _as_json(one: Explained) -> dict[str, Any]:
    return {
        **msgspec.to_builtins(one.decision),
        "words": sentences(one.decision),
        "held": msgspec.to_builtins(one.held),
        "aside": msgspec.to_builtins(one.aside),
    }


def names(chunk: Chunk, stage: str) -> bool:
    """Whether `stage` means a chunk, as users write stages.

    With or without its workflow: an execution (`notes`, `study[3].notes`, `refine#2`), one item
    of it (`notes[17]`), everything in a scope (`study[3]`) or a group (`study`), or a stage as it
    is written (`study.notes`) in whatever scope.
    """
    own = chunk.instance.rpartition("/")[2]
    spellings = (chunk.instance, own, written_id(own))
    if stage in spellings or any(one.startswith(_inside(stage)) for one in spellings):
        return True
    name, item = _split(stage)
    return name in spellings and item is not None and chunk.start <= item < chunk.stop


def _inside(stage: str) -> tuple[str, ...]:
    """Return how the ids of what is inside a group or scope begin."""
    return f"{stage}.", f"{stage}[", f"{stage}#"


def _split(stage: str) -> tuple[str, int | None]:
    match = re.fullmatch(r"(.+)\[(\d+)\]", stage)
    return (match[1], int(match[2])) if match else (stage, None)


def _stage_names(records: list[Record]) -> list[str]:
    """Return the names of the stages of a journal as they are written, short."""
    found: set[str] = set()
    for record in records:
        for event in record.events:
            if isinstance(event, Submitted):
                for stage in event.graph.stages:
                    found.update(_written(stage, stage.id))
    return sorted(found)


def _written(stage: Stage, name: str) -> Iterator[str]:
    """Yield a stage's name and those of what a group holds."""
    yield name
    for inner in stage.body:
        own = name.rpartition(".")[2]
        yield from _written(inner, name if inner.id == own else f"{name}.{inner.id}")


def _missing(header: Header, stage: str, seen: int, known: list[str]) -> str:
    name = written_id(_split(stage)[0].rpartition("/")[2])
    if seen:
        return (
            f"run {header.run}: {stage!r} was never started by a plan (the fallback or the wait "
            f"bound started it, or the run ended before); --all shows the plans it was part of"
        )
    if name in known:
        return (
            f"run {header.run}: {stage!r} was never ready for a model call; tools are not planned"
        )
    return f"run {header.run} has no stage {stage!r}.{suggest(name, known)}"
