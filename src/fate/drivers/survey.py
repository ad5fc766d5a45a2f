"""What a log says without a core: what is open, unanswered, finished, or may have had effects."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from fate.domain.graph import InstanceId, Stage
from fate.domain.messages import (
    Activity,
    ActivityId,
    Command,
    Done,
    Dropped,
    Event,
    Expand,
    Expanded,
    ExpandFailed,
    ItemDone,
    PlanFailed,
    Planned,
    Record,
    Resumed,
    Reuse,
    Revealed,
    RunTool,
    Skipped,
    Submitted,
    WakeAt,
    Woke,
    WorkflowEnded,
)

_ANSWERS = (Expanded, Skipped, Revealed, ExpandFailed)
_ITEMS = (Reuse, Dropped)


@dataclass(slots=True)
class Survey:
    """A log gone over once.

    Attributes:
        at_s: time of the last record [s].
        activity, plan: the highest numbers given to an activity and to a plan.
        submitted: workflows in order of arrival; `ended` says how those that are over ended.
        unanswered: what was asked of the expander and not answered, in order.
        alarms: times at which the core is to be woken and was not.
        finished: items that need not run any more, of groups their scopes: done, reused, dropped.
        begun: tool items that began and did not end well.
        told: what expanders cannot tell from stored outputs, see `Expander.recall`.
        last: the commands of the last record: only their effects may be missing.
        stages: every instance the log mentions, by id.
    """

    at_s: float = 0.0
    activity: ActivityId = 0
    plan: int = 0
    submitted: dict[str, None] = field(default_factory=dict[str, None])
    ended: dict[str, WorkflowEnded] = field(default_factory=dict[str, WorkflowEnded])
    unanswered: dict[InstanceId, Expand] = field(default_factory=dict[InstanceId, Expand])
    alarms: dict[float, None] = field(default_factory=dict[float, None])
    finished: dict[InstanceId, set[int]] = field(default_factory=dict[InstanceId, set[int]])
    begun: set[tuple[InstanceId, int]] = field(default_factory=set[tuple[InstanceId, int]])
    told: list[Event | Command] = field(default_factory=list[Event | Command])
    last: tuple[Command, ...] = ()
    stages: dict[InstanceId, Stage] = field(default_factory=dict[InstanceId, Stage])
    _running: dict[ActivityId, Activity] = field(default_factory=dict[ActivityId, Activity])

    @property
    def open(self) -> list[str]:
        """Workflows that are not over."""
        return [workflow for workflow in self.submitted if workflow not in self.ended]

    def doubtful(self) -> frozenset[tuple[InstanceId, int]]:
        """Return the items of tools that are not pure and may have run: they began, at least."""
        return frozenset([each for each in self.begun if not self.stages[each[0]].pure])

    def add(self, record: Record) -> None:
        """Take in the next record."""
        self.at_s, self.last = record.at_s, record.commands
        for event in record.events:
            self._event(event)
        for command in record.commands:
            self._command(command)

    def _event(self, event: Event) -> None:
        match event:
            case Submitted(graph=graph):
                self.submitted[graph.id] = None
                self.ended.pop(graph.id, None)
                self.stages.update({graph.instance(stage.id): stage for stage in graph.stages})
            case ItemDone(activity=activity, item=item):
                self._item_done(self._running.get(activity), item)
            case Resumed():
                self._resumed(event)
            case Planned(version=version) | PlanFailed(version=version):
                self.plan = max(self.plan, version)
            case Woke(at_s=at_s):
                self.alarms.pop(at_s, None)
            case Done(activity=activity):
                self._running.pop(activity, None)
            case _ if isinstance(event, _ANSWERS):
                self._answered(event)
            case _:
                pass

    def _answered(self, event: Expanded | Skipped | Revealed | ExpandFailed) -> None:
        self.unanswered.pop(event.instance, None)
        if isinstance(event, Expanded | Revealed):
            self.told.append(event)
        if isinstance(event, Revealed):
            workflow = event.instance.rpartition("/")[0]
            for scope in event.scopes:
                self.stages.update({f"{workflow}/{stage.id}": stage for stage in scope.stages})

    def _item_done(self, command: Activity | None, item: int) -> None:
        """An item is finished; the next one of a tool's chunk has begun by now."""
        chunk = getattr(command, "chunk", None)
        if chunk is None:
            return
        self.finished.setdefault(chunk.instance, set()).add(item)
        if isinstance(command, RunTool):
            self.begun.discard((chunk.instance, item))
            self._begin(command, item + 1)

    def _begin(self, command: RunTool, item: int) -> None:
        if item < command.chunk.stop:
            self.begun.add((command.chunk.instance, item))

    def _resumed(self, event: Resumed) -> None:
        self._running.clear()
        if event.afresh:
            self.unanswered.clear()
            self.alarms.clear()
            self.told = [each for each in self.told if isinstance(each, Dropped)]
            self.told.append(event)

    def _command(self, command: Command) -> None:
        match command:
            case Expand(instance=instance):
                self.unanswered[instance] = command
                if command.open:
                    self.told.append(command)
            case WakeAt(at_s=at_s):
                self.alarms[at_s] = None
            case WorkflowEnded(workflow=workflow):
                self.ended[workflow] = command
            case _ if isinstance(command, _ITEMS):
                self.finished.setdefault(command.instance, set()).add(command.item)
                self.begun.discard((command.instance, command.item))
                if isinstance(command, Dropped):
                    self.told.append(command)
            case _ if isinstance(command, Activity):
                self.activity = max(self.activity, command.activity)
                self._running[command.activity] = command
                if isinstance(command, RunTool):
                    self._begin(command, command.chunk.start)
            case _:
                pass


def survey(records: Iterable[Record]) -> Survey:
    """Go over a log."""
    found = Survey()
    for record in records:
        found.add(record)
    return found
