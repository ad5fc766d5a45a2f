"""A decision log gone over by an account of its own, apart from the core's and the drivers'."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from fate.domain.catalog import Cluster, Device
from fate.domain.graph import Graph, InstanceId, Scope, Stage
from fate.domain.messages import (
    Activity,
    Call,
    Cancelled,
    DeviceLost,
    DeviceReady,
    Done,
    Dropped,
    Event,
    Expand,
    Expanded,
    Failed,
    ItemDone,
    Load,
    LoggedCommand,
    Record,
    Resumed,
    Reuse,
    Revealed,
    RunTool,
    Skipped,
    Unload,
    WorkflowEnded,
)


@dataclass(slots=True)
class Audit:
    """What a log says happened; raises AssertionError where that cannot be.

    Attributes:
        done: how often each item was finished.
        items: how many items each instance turned out to have.
        calls: calls by the device they ran on, in order.
        ended: how workflows ended.
        skipped: instances whose condition did not hold.
        dropped: items that were given up, -1 for all of an instance; scopes of groups.
        scopes: instances by group and item or round.
    """

    cluster: Cluster
    graphs: Sequence[Graph]
    done: Counter[tuple[InstanceId, int]] = field(default_factory=Counter[tuple[InstanceId, int]])
    items: dict[InstanceId, int] = field(default_factory=dict[InstanceId, int])
    calls: list[Call] = field(default_factory=list[Call])
    ended: dict[str, WorkflowEnded] = field(default_factory=dict[str, WorkflowEnded])
    running: dict[int, Activity] = field(default_factory=dict[int, Activity])
    held: dict[tuple[str, str], int] = field(default_factory=dict[tuple[str, str], int])
    lost: set[str] = field(default_factory=set[str])
    skipped: set[InstanceId] = field(default_factory=set[InstanceId])
    dropped: set[tuple[InstanceId, int]] = field(default_factory=set[tuple[InstanceId, int]])
    scopes: dict[InstanceId, dict[int, list[InstanceId]]] = field(
        default_factory=dict[InstanceId, dict[int, list[InstanceId]]]
    )
    _asked: set[InstanceId] = field(default_factory=set[InstanceId])
    _closed: set[InstanceId] = field(default_factory=set[InstanceId])
    _stages: dict[InstanceId, Stage] = field(init=False)
    _last: int = 0

    def __post_init__(self) -> None:
        """Know all stages."""
        self._stages = {
            graph.instance(stage.id): stage for graph in self.graphs for stage in graph.stages
        }

    def of(self, records: Iterable[Record]) -> "Audit":
        """Go over a whole log; nothing may be left running."""
        at_s = 0.0
        for record in records:
            assert record.at_s >= at_s, "time goes back"
            at_s = record.at_s
            for event in record.events:
                self._event(event)
            for command in record.commands:
                self._command(command)
        assert not self.running, f"left running: {self.running}"
        assert set(self.ended) == {graph.id for graph in self.graphs}
        return self

    def _end(self, end: WorkflowEnded) -> None:
        assert end.workflow not in self.ended, f"{end.workflow} ends twice"
        self.ended[end.workflow] = end
        graph = next(graph for graph in self.graphs if graph.id == end.workflow)
        assert end.status == "ok" or end.reason
        for stage in graph.stages if end.status == "ok" else ():
            name = graph.instance(stage.id)
            assert self._is_over(name) or self._is_needless(name), f"{name} is open"

    def _command(self, command: LoggedCommand) -> None:
        match command:
            case WorkflowEnded():
                self._end(command)
            case Expand(instance=instance):
                self._precedence(instance)
                self._asked.add(instance)
            case Reuse(source=source, source_item=source_item):
                assert self.done[source, source_item] == 1, f"{command} of nothing"
                self._done(command.instance, command.item)
            case Dropped(instance=instance, item=item):
                assert (instance, item) not in self.dropped, f"{command} again"
                self.dropped.add((instance, item))
            case _ if isinstance(command, Activity):
                self._begin(command)
            case _:
                pass

    def _done(self, instance: InstanceId, item: int) -> None:
        self.done[instance, item] += 1
        assert self.done[instance, item] == 1, f"{instance}[{item}] was done twice"

    def _parents(self, instance: InstanceId) -> list[InstanceId]:
        workflow = instance.rpartition("/")[0]
        return [f"{workflow}/{parent}" for parent in self._stages[instance].parents]

    def _is_skipped(self, instance: InstanceId) -> bool:
        """Whether nothing came of an instance: its condition, no parents, failures."""
        stage, parents = self._stages[instance], self._parents(instance)
        if instance in self.skipped or (instance, -1) in self.dropped:
            return True
        if parents and all(self._is_skipped(parent) for parent in parents):
            return True
        if stage.kind == "group" or stage.on_error != "skip":
            return False
        gone = sum(name == instance for name, _ in self.dropped)
        return gone > 0 and gone >= self.items.get(instance, 0)

    def _is_over(self, instance: InstanceId) -> bool:
        """Whether an instance is done, or skipped; a scope that was dropped counts as over."""
        if self._is_skipped(instance):
            return True
        if instance in self.items:
            return all(
                self.done[instance, item] == 1 or (instance, item) in self.dropped
                for item in range(self.items[instance])
            )
        if self._stages[instance].kind != "group":
            return (instance, 0) in self.dropped
        ended = not self._stages[instance].loop or instance in self._closed
        return (
            ended
            and all(
                (instance, index) in self.dropped
                or all(self._is_over(m) or self._is_needless(m) for m in members)
                for index, members in self.scopes.get(instance, {}).items()
            )
            and instance in self.scopes
        )

    def _is_needless(self, instance: InstanceId) -> bool:
        """Whether an instance may have been abandoned: all that mention it began or are over."""
        children = [name for name in self._stages if instance in self._parents(name)]
        began = (
            name in self._asked or self._is_over(name) or self._is_needless(name)
            for name in children
        )
        return not self._stages[instance].kept and bool(children) and all(began)

    def may_lack(self, instance: InstanceId) -> bool:
        """Whether a join, or one around it, did not wait for an instance: others may have won."""
        children = [name for name in self._stages if instance in self._parents(name)]
        passed = any(self._stages[name].join or self.may_lack(name) for name in children)
        if passed and self._is_needless(instance):
            return True
        return any(
            self.may_lack(group)
            for group, scopes in self.scopes.items()
            if any(instance in members for members in scopes.values())
        )

    def _event(self, event: Event) -> None:
        match event:
            case Expanded(instance=instance, tails=tails):
                assert instance not in self.items
                self.items[instance] = len(tails)
            case Skipped(instance=instance):
                self.skipped.add(instance)
            case Revealed(instance=instance, scopes=scopes):
                self._reveal(instance, scopes)
            case ItemDone(activity=activity, item=item) if activity in self.running:
                command = self.running[activity]
                assert isinstance(command, Call | RunTool)
                assert command.chunk.start <= item < command.chunk.stop
                self._done(command.chunk.instance, item)
            case Done() | Failed() | Cancelled() if event.activity in self.running:
                self._outcome(self.running.pop(event.activity), well=isinstance(event, Done))
            case DeviceLost(device=device):
                self.lost.add(device)
                self.held = {pair: size for pair, size in self.held.items() if pair[0] != device}
                mine = [a for a, c in self.running.items() if _device(c) == device]
                for activity in mine:
                    del self.running[activity]
            case DeviceReady(device=device):
                self.lost.discard(device)
            case Resumed(afresh=afresh):
                self._resumed(afresh)
            case _:
                pass

    def _resumed(self, afresh: bool) -> None:
        """Another process: nothing runs, nothing is held; what ended badly may begin again."""
        self.running.clear()
        self.held.clear()
        self.lost.clear()
        if afresh:
            self.ended = {name: end for name, end in self.ended.items() if end.status == "ok"}
            self.items.clear()
            self.scopes.clear()
            self.skipped.clear()
            self.dropped.clear()
            self._asked.clear()
            self._closed.clear()

    def _reveal(self, group: InstanceId, scopes: tuple[Scope, ...]) -> None:
        workflow, known = group.rpartition("/")[0], self.scopes.setdefault(group, {})
        if not scopes:
            self._closed.add(group)
        for scope in scopes:
            assert scope.index not in known
            known[scope.index] = [f"{workflow}/{stage.id}" for stage in scope.stages]
            self._stages |= zip(known[scope.index], scope.stages, strict=True)

    def _outcome(self, command: Activity, *, well: bool) -> None:
        if isinstance(command, Load | Unload) and well == isinstance(command, Unload):
            del self.held[command.device, command.model]

    def _begin(self, command: Activity) -> None:
        assert command.activity > self._last, "attempt numbers are never reused"
        self._last = command.activity
        match command:
            case Load():
                self._load(command)
            case Unload(device=device, model=model):
                assert (device, model) in self.held
                self._loader_free(self._device(device))
                users = [c for c in self.running.values() if _place(c) == (device, model)]
                assert not users, f"{model} is unloaded while {users}"
            case Call():
                self._call(command)
            case RunTool(chunk=chunk):
                self._precedence(chunk.instance)
                tools = [c for c in self.running.values() if isinstance(c, RunTool)]
                assert len(tools) < self.cluster.tool_slots
            case _:
                raise AssertionError(f"nobody runs {command}")
        self.running[command.activity] = command

    def _load(self, command: Load) -> None:
        """A load reserves memory within the budget, on a device that is there."""
        device = self._device(command.device)
        self._loader_free(device)
        assert device.id not in self.lost, f"a load on lost {device.id}"
        assert (device.id, command.model) not in self.held, f"{command.model} is there already"
        model = next(model for model in self.cluster.models if model.id == command.model)
        self.held[device.id, model.id] = model.footprint_bytes
        total = sum(size for (name, _), size in self.held.items() if name == device.id)
        assert total <= device.memory_bytes, f"{device.id} holds {total} bytes"

    def _loader_free(self, device: Device) -> None:
        """A device has one loader."""
        mates = [c for c in self.running.values() if _device(c) == device.id]
        busy = [c for c in mates if isinstance(c, Load | Unload)]
        assert not busy, f"{device.id}: {busy} are under way"

    def _call(self, command: Call) -> None:
        """A call finds its model, a compute slot and its sequence slot free, its parents done."""
        device, chunk = self._device(command.device), command.chunk
        assert device.id not in self.lost, f"a call on lost {device.id}"
        mates = [c for c in self.running.values() if _device(c) == device.id]
        calls = [c for c in mates if isinstance(c, Call)]
        assert len(calls) < device.slots, f"{device.id}: {len(calls) + 1} calls at once"
        if device.managed:
            assert (device.id, command.model) in self.held
        changing = [c for c in mates if isinstance(c, Load | Unload) and c.model == command.model]
        assert not changing, f"{command} during {changing}"
        if device.prefix == "sequences":
            assert 0 <= command.sequence < device.sequences
            taken = [(c.model, c.sequence) for c in calls]
            assert (command.model, command.sequence) not in taken
        for item in range(chunk.start, chunk.stop):
            assert not self.done[chunk.instance, item], f"{chunk.instance}[{item}] runs again"
        self._precedence(chunk.instance)
        self.calls.append(command)

    def _precedence(self, instance: InstanceId) -> None:
        """All parents are over, or as many are done as the stage waits for."""
        parents, join = self._parents(instance), self._stages[instance].join
        over = [parent for parent in parents if self._is_over(parent)]
        done = [parent for parent in over if not self._is_skipped(parent)]
        assert not parents or done, f"{instance} begins without any parent"
        assert len(over) == len(parents) or len(done) >= join > 0, f"{instance} begins too early"

    def _device(self, name: str) -> Device:
        return next(device for device in self.cluster.devices if device.id == name)


def _device(command: Activity) -> str:
    return "" if isinstance(command, RunTool) else command.device


def _place(command: Activity) -> tuple[str, str]:
    return ("", "") if isinstance(command, RunTool) else (command.device, command.model)
