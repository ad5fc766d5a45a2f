"""From the records of a run that stopped to what another process goes on with.

Two ways. A run that was interrupted is replayed: its events and plans are fed to a fresh core,
which must answer as it did, and then `Resumed` puts back what was running. A run whose workflows
are over, but not all of them well, begins afresh: a new core is told of them again, and of all
that is finished, so that only the rest runs.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from msgspec.structs import replace

from fate.core.scheduler import Scheduler
from fate.domain.errors import ReplayError
from fate.domain.graph import Graph, InstanceId
from fate.domain.messages import (
    Command,
    Dropped,
    Event,
    Expanded,
    Record,
    Resumed,
    Reuse,
    Revealed,
    Submitted,
    WakeAt,
    WorkflowEnded,
)
from fate.drivers.replay import replay
from fate.drivers.setup import Setup
from fate.drivers.survey import Survey, survey

#: An item of an instance, or a scope of a group.
Item = tuple[InstanceId, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovered:
    """Where a run stands, and what to go on with.

    Attributes:
        core: in the state that the records lead to, or a new one.
        at_s: time of the last record: the run's clock goes on from there [s].
        again: commands whose effects may be missing; they may take effect twice.
        events: what the core is told first.
        finished: by instance, items that need not run although the core does not know it yet.
        doubtful: tool items that may have run already and must not run again unasked.
        told: what expanders must know of the past, see `Expander.recall`.
        ended: workflows that are over, and stay so.
    """

    core: Scheduler
    at_s: float = 0.0
    again: tuple[Command, ...] = ()
    events: tuple[Event, ...] = ()
    finished: Mapping[InstanceId, set[int]] = field(default_factory=dict[InstanceId, set[int]])
    doubtful: frozenset[Item] = frozenset()
    told: tuple[Event | Command, ...] = ()
    ended: Mapping[str, WorkflowEnded] = field(default_factory=dict[str, WorkflowEnded])


def stands(records: Iterable[Record], workflows: Sequence[str]) -> tuple[bool, bool]:
    """Return whether some workflow of a run is open or never came, and whether any ended badly."""
    found = survey(records)
    known = found.submitted.keys() & set(workflows)
    unfinished = bool(found.open) or len(known) < len(workflows)
    return unfinished, any(end.status != "ok" for end in found.ended.values())


def recover(
    records: Sequence[Record],
    setup: Setup,
    graphs: Mapping[str, Callable[[], Graph]],
    *,
    reason: str = "",
    afresh: bool = False,
    rerun_tools: bool = False,
) -> Recovered:
    """Return where a run stands and what to go on with.

    Args:
        records: what the former processes recorded.
        setup: what the run started from, its own policy included.
        graphs: makes the graph of each workflow of the run, by its id.
        reason: why it has to go on; shown with what was interrupted.
        afresh: do not replay. Workflows that are not over begin afresh; those that ended badly
            do so in any case once no workflow is open any more.
        rerun_tools: run tools again that may have run already, although they are not pure.

    Raises:
        ReplayError: the core answers otherwise than it did.
    """
    found = survey(records)
    missing = [name for name in graphs if name not in found.submitted]
    over = not found.open and not missing
    doubtful = frozenset[Item]() if rerun_tools else found.doubtful()
    if afresh or over:
        return _afresh(found, setup, graphs, reason, doubtful)
    try:
        core = replay(records, setup)
    except ReplayError as error:
        raise ReplayError(
            f"{error}. `fate resume --afresh` goes on without the records: what is finished "
            f"is kept, what was learned and decided is not"
        ) from None
    events: list[Event] = [Submitted(graph=graphs[name]()) for name in missing]
    if records:
        events = [Resumed(reason=reason), *events]
    return Recovered(
        core=core,
        at_s=found.at_s,
        again=_unanswered(found),
        events=tuple(events),
        doubtful=doubtful,
        told=tuple(found.told),
        ended=found.ended,
    )


def _unanswered(found: Survey) -> tuple[Command, ...]:
    """Return the commands of a log whose effects or answers may be missing.

    Outputs are copied and defaults stored after the record that says so, and are durable with
    the next one.
    """
    effects = [command for command in found.last if isinstance(command, Reuse | Dropped)]
    asked = [
        command
        for instance, command in found.unanswered.items()
        if instance.rpartition("/")[0] not in found.ended
    ]
    return (*effects, *asked, *[WakeAt(at_s=at_s) for at_s in found.alarms])


def _afresh(
    found: Survey,
    setup: Setup,
    graphs: Mapping[str, Callable[[], Graph]],
    reason: str,
    doubtful: frozenset[Item],
) -> Recovered:
    """Return a new core that is told of every workflow that has not ended well."""
    ended = {name: end for name, end in found.ended.items() if end.status == "ok"}
    begin = Resumed(reason=reason, afresh=True, activity=found.activity, plan=found.plan)
    todo = [Submitted(graph=graph()) for name, graph in graphs.items() if name not in ended]
    return Recovered(
        core=setup.scheduler(),
        at_s=found.at_s,
        again=tuple([c for c in found.last if isinstance(c, Reuse | Dropped)]),
        events=(begin, *todo),
        finished=found.finished,
        doubtful=doubtful,
        told=(*[each for each in found.told if isinstance(each, Dropped)], begin),
        ended=ended,
    )


def without_finished(
    event: Event, finished: Mapping[InstanceId, set[int]], gone: set[Item]
) -> Event:
    """Return what an instance was expanded to without what is finished of it.

    `gone` items have no output: nothing can be their twin.
    """
    match event:
        case Expanded(instance=instance, tails=tails, twins=twins):
            kept = finished.get(instance, set[int]())
            done = tuple([item for item in range(len(tails)) if item in kept])
            left = [
                t for t in twins if t.item not in kept and (t.source, t.source_item) not in gone
            ]
            return replace(event, done=done, twins=tuple(left))
        case Revealed(instance=instance, scopes=scopes) if instance in finished:
            kept = finished[instance]
            return replace(event, scopes=tuple([s for s in scopes if s.index not in kept]))
        case _:
            return event
