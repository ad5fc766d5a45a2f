"""A look at a run without decoding its records in full: how far it came, and how it ended."""

import sqlite3

import msgspec

from fate.domain.graph import StageKind
from fate.store.bodies import unpacked


class Glance(msgspec.Struct, frozen=True, kw_only=True):
    """How far a run came.

    Attributes:
        workflows: workflows of the run, and `done` those that ended.
        items: items of all stages, expected ones where they are not known yet.
        items_done: items whose output is stored; of a simulation, that took place.
        interruptions: how often another process had to go on.
        last_s: time of the last record on the run's clock [s].
        end_s: when the last workflow ended [s]; None before any did.
    """

    workflows: int = 0
    done: int = 0
    items: int = 0
    items_done: int = 0
    interruptions: int = 0
    last_s: float = 0.0
    end_s: float | None = None


class _Record(msgspec.Struct):
    at_s: float
    events: tuple[msgspec.Raw, ...] = ()
    commands: tuple[msgspec.Raw, ...] = ()


class _Stage(msgspec.Struct):
    id: str
    kind: StageKind = "llm"
    items: int = 1


class _Graph(msgspec.Struct):
    id: str
    stages: tuple[_Stage, ...]


class _Scope(msgspec.Struct, array_like=True):
    index: int
    stages: tuple[_Stage, ...]


class _Event(msgspec.Struct):
    """The fields of the few events that say how much there is to do."""

    type: str
    graph: _Graph | None = None
    instance: str = ""
    tails: tuple[msgspec.Raw, ...] | None = None
    scopes: tuple[_Scope, ...] = ()


_COUNTED = tuple(
    f'{{"type":"{name}"'.encode()
    for name in ("Submitted", "Expanded", "Skipped", "Revealed", "Resumed")
)
_ENDED = b'{"type":"WorkflowEnded"'
_FINISHED = b'{"type":"ItemDone"', b'{"type":"Reuse"'


def glance(connection: sqlite3.Connection, *, simulated: bool = False) -> Glance:
    """Read how far a run came; one that is `simulated` stores no outputs."""
    records, events = msgspec.json.Decoder(_Record), msgspec.json.Decoder(_Event)
    items: dict[str, int] = {}
    workflows: set[str] = set()
    open_workflows, last_s, end_s, interruptions, finished = 0, 0.0, None, 0, 0
    for (body,) in connection.execute("SELECT body FROM record ORDER BY number"):
        record = records.decode(unpacked(body))
        last_s = record.at_s
        for raw in record.events:
            if bytes(raw).startswith(_COUNTED):
                event = events.decode(raw)
                interruptions += event.type == "Resumed"
                if event.graph is not None:
                    workflows.add(event.graph.id)
                    open_workflows += 1
                items.update(_items(event))
        if simulated:
            each = (*record.events, *record.commands)
            finished += sum(bytes(raw).startswith(_FINISHED) for raw in each)
        ends = sum(bytes(raw).startswith(_ENDED) for raw in record.commands)
        open_workflows -= ends
        end_s = last_s if ends else end_s
    (stored,) = connection.execute("SELECT COUNT(*) FROM output").fetchone()
    return Glance(
        workflows=len(workflows),
        done=len(workflows) - open_workflows,
        items=sum(items.values()),
        items_done=finished if simulated else stored,
        interruptions=interruptions,
        last_s=last_s,
        end_s=end_s,
    )


def _items(event: _Event) -> dict[str, int]:
    """Return the items of the instances that an event tells of."""
    match event.type:
        case "Submitted" if event.graph is not None:
            return {f"{event.graph.id}/{s.id}": _expected(s) for s in event.graph.stages}
        case "Expanded":
            return {event.instance: 1 if event.tails is None else len(event.tails)}
        case "Revealed":
            workflow = event.instance.rpartition("/")[0]
            stages = [stage for scope in event.scopes for stage in scope.stages]
            return {f"{workflow}/{stage.id}": _expected(stage) for stage in stages}
        case "Skipped":
            return {event.instance: 0}
        case _:
            return {}


def _expected(stage: _Stage) -> int:
    """A group has no items of its own; its stages have, once they are known."""
    return 0 if stage.kind == "group" else stage.items
