"""A decision log gone over by an account of its own, apart from the core's and the drivers'."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from fate.domain.catalog import Cluster, Device
from fate.domain.graph import Graph, InstanceId
from fate.domain.messages import (
    Activity,
    Call,
    Cancelled,
    DeviceLost,
    DeviceReady,
    Done,
    Event,
    Expanded,
    Failed,
    ItemDone,
    Load,
    Record,
    Resumed,
    RunTool,
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
    _last: int = 0
    _parents: dict[InstanceId, list[InstanceId]] = field(init=False)

    def __post_init__(self) -> None:
        """Know everybody's parents."""
        self._parents = {
            graph.instance(stage.id): [graph.instance(parent) for parent in stage.parents]
            for graph in self.graphs
            for stage in graph.stages
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
                if isinstance(command, Activity):
                    self._begin(command)
                elif isinstance(command, WorkflowEnded):
                    self._end(command)
        assert not self.running, f"left running: {self.running}"
        assert set(self.ended) == {graph.id for graph in self.graphs}
        return self

    def _end(self, end: WorkflowEnded) -> None:
        assert end.workflow not in self.ended, f"{end.workflow} ends twice"
        self.ended[end.workflow] = end
        graph = next(graph for graph in self.graphs if graph.id == end.workflow)
        assert end.status == "ok" or end.reason
        for stage in graph.stages if end.status == "ok" else ():
            self._complete(graph.instance(stage.id))

    def _complete(self, instance: InstanceId) -> None:
        """Every item of an instance is done exactly once."""
        for item in range(self.items[instance]):
            times = self.done[instance, item]
            assert times == 1, f"{instance}[{item}] was done {times} times"

    def _event(self, event: Event) -> None:
        match event:
            case Expanded(instance=instance, tails=tails):
                assert instance not in self.items
                self.items[instance] = len(tails)
            case ItemDone(activity=activity, item=item) if activity in self.running:
                command = self.running[activity]
                assert isinstance(command, Call | RunTool)
                assert command.chunk.start <= item < command.chunk.stop
                self.done[command.chunk.instance, item] += 1
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
        for parent in self._parents[instance]:
            self._complete(parent)

    def _device(self, name: str) -> Device:
        return next(device for device in self.cluster.devices if device.id == name)


def _device(command: Activity) -> str:
    return "" if isinstance(command, RunTool) else command.device


def _place(command: Activity) -> tuple[str, str]:
    return ("", "") if isinstance(command, RunTool) else (command.device, command.model)
