"""Workflows run by the real core on their real expander, in virtual time, without any engine."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import count
from typing import Any

from tests.graphs import cluster, profile

from fate import registry
from fate.core.options import SchedulerOptions
from fate.domain.graph import Chunk, InstanceId
from fate.domain.messages import (
    ActivityId,
    Call,
    Cancel,
    Cancelled,
    Command,
    Done,
    Dropped,
    Event,
    Expand,
    Failed,
    ItemDone,
    Load,
    RequestPlan,
    Reuse,
    RunTool,
    Submitted,
    Unload,
    WakeAt,
    Woke,
    WorkflowEnded,
)
from fate.drivers.setup import Setup, answer, in_order
from fate.workflow.expand import Expander
from fate.workflow.spec import WorkflowSpec
from fate.workflow.tokens import TokenCounter
from fate.workflow.twins import TwinIndex
from fate.workflow.values import MemoryOutputs

#: What a fake model writes for a prompt.
Model = Callable[[str], str]


@dataclass
class WholeRun:
    """One workflow. Every attempt at a `failing` item fails.

    `prompts` are those of the calls that were made; the calls of an instance take a second each.
    """

    spec: WorkflowSpec
    inputs: dict[str, Any]
    model: Model
    failing: frozenset[tuple[InstanceId, int]] = frozenset()
    prompts: dict[tuple[InstanceId, int], str] = field(
        default_factory=dict[tuple[InstanceId, int], str]
    )
    ended: WorkflowEnded | None = None

    def __post_init__(self) -> None:
        """Put everything together."""
        devices = cluster(devices=2)
        self._setup = Setup(
            cluster=devices,
            profile=profile(devices),
            policy=registry.build("policy", "idle-affinity"),
            options=SchedulerOptions(max_attempts=2),
        )
        self._core = self._setup.scheduler()
        self.outputs = MemoryOutputs()
        models = dict.fromkeys(self.spec.roles, devices.models[0])
        self.it = Expander(
            self.spec,
            "w",
            self.inputs,
            models,
            TokenCounter(),
            self.outputs,
            twins=TwinIndex(),
        )
        self._heap: list[tuple[float, int, Event]] = []
        self._number = count()
        self._activities: dict[ActivityId, Call | RunTool] = {}
        self._cancelled: set[ActivityId] = set()

    def run(self) -> dict[str, Any]:
        """Run to the end; return the results."""
        self._push(0.0, Submitted(graph=self.it.graph()))
        while self._heap and self.ended is None:
            now_s, batch = self._heap[0][0], list[Event]()
            while self._heap and self._heap[0][0] == now_s:
                event = heappop(self._heap)[2]
                if not self._prevented(event):
                    batch.append(event)
            self._store(batch)
            for command in self._core.handle(in_order(batch), now_s) if batch else ():
                self._execute(command, now_s)
        assert self.ended is not None, "the run stopped with work left"
        return self.it.results(ended=self.ended.status == "ok")

    def _prevented(self, event: Event) -> bool:
        outcome = isinstance(event, ItemDone | Done | Failed)
        return outcome and event.activity in self._cancelled

    def _push(self, at_s: float, event: Event) -> None:
        heappush(self._heap, (at_s, next(self._number), event))

    def _execute(self, command: Command, now_s: float) -> None:
        match command:
            case Expand(instance=instance):
                self._push(now_s, self.it.expand(instance))
            case RequestPlan():
                self._push(now_s + 0.001, answer(self._setup.policy, command))
            case WakeAt(at_s=at_s):
                self._push(max(at_s, now_s), Woke(at_s=at_s))
            case Load() | Unload():
                self._push(now_s + 0.5, Done(activity=command.activity, seconds=0.5))
            case Call() | RunTool():
                self._run(command, command.chunk, now_s)
            case Cancel(activity=activity):
                self._cancelled.add(activity)
                self._push(now_s, Cancelled(activity=activity))
            case Reuse() | Dropped():
                self._put(command)
            case WorkflowEnded():
                self.ended = command
            case _:
                raise AssertionError(command)

    def _put(self, command: Reuse | Dropped) -> None:
        if isinstance(command, Reuse):
            text = dict(self.outputs.items(command.source))[command.source_item]
        else:
            text = self.it.default(command.instance, command.item)
        if text is not None and command.item >= 0:
            self.outputs.put(command.instance, command.item, text)

    def _run(self, command: Call | RunTool, chunk: Chunk, now_s: float) -> None:
        self._activities[command.activity] = command
        for item in range(chunk.start, chunk.stop):
            now_s += 1.0
            if (chunk.instance, item) in self.failing:
                self._push(now_s, Failed(activity=command.activity, reason="it is meant to"))
                return
            self._push(now_s, ItemDone(activity=command.activity, item=item, output_tokens=2))
        self._push(now_s, Done(activity=command.activity))

    def _store(self, events: Iterable[Event]) -> None:
        """Write texts before the events that name them are handled."""
        for event in events:
            if not isinstance(event, ItemDone):
                continue
            command = self._activities[event.activity]
            instance = command.chunk.instance
            if isinstance(command, RunTool):
                text = self.it.run_tool(instance, event.item)
            else:
                parts = self.it.request(instance, event.item, -1).parts
                prompt = "".join(part.text for part in parts)
                self.prompts[instance, event.item] = prompt
                text = self.model(prompt)
            self.outputs.put(instance, event.item, text)
