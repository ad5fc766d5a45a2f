"""Workflows run as their graphs declare them: texts spelled from segment keys, no templates.

With `Bench` behind it, the runtime meets the world of the simulator: durations and lengths come
from the same `Physics`, time is virtual, and only the code in between differs.
"""

import hashlib
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from msgspec.structs import replace

from fate.cost.terms import state_seconds
from fate.domain.catalog import Cluster, Device
from fate.domain.faults import Fault
from fate.domain.graph import Graph, InstanceId, Path, Segment, item_key
from fate.domain.messages import (
    Command,
    Event,
    Expanded,
    ExpandFailed,
    Load,
    Move,
    PlanFailed,
    Planned,
    Record,
    RequestPlan,
    Revealed,
    Skipped,
    Unload,
)
from fate.domain.plan import Memo, Plan, Prefetch
from fate.domain.snapshot import Snapshot
from fate.drivers.clock import Clock, VirtualClock
from fate.drivers.declared import Declared
from fate.drivers.execute import Executor, Limits, OutputWriter
from fate.drivers.injected import Injector
from fate.drivers.recover import Recovered
from fate.drivers.run import Runtime
from fate.drivers.setup import Outcome, Setup, answer
from fate.drivers.simulate import PLANNING_S
from fate.drivers.world import Measured, Physics, Truth, declared_in
from fate.engines.base import CallRequest, CallResult, PromptPart
from fate.engines.fake import FakeEngine, FakeWork
from fate.policy.base import Lookahead, Policy
from fate.policy.greedy import greedy_plan


def spelled(segment: Segment) -> str:
    """Return a text of as many tokens as a fake engine counts, different for every key."""
    words: list[str] = []
    while len(words) < segment.tokens:
        about = f"{segment.key}:{len(words)}"
        digest = hashlib.blake2b(about.encode(), digest_size=48).hexdigest()
        words += [digest[i : i + 3] for i in range(0, len(digest), 3)]
    return "".join(f"{word} " for word in words[: segment.tokens])


@dataclass(slots=True)
class DeclaredWork:
    """One workflow's content. A call's seed is its position in `calls`, shared by all."""

    declared: Declared
    calls: list[tuple[InstanceId, int, Path]]
    defaults: list[tuple[InstanceId, int]] = field(default_factory=list[tuple[InstanceId, int]])

    def expand(self, instance: InstanceId) -> Expanded | Skipped | Revealed | ExpandFailed:
        """Answer as the stage declares it."""
        return self.declared.expand(instance)

    def default(self, instance: InstanceId, item: int) -> str | None:
        """Say what is given up, where a default is declared."""
        if self.declared.stage(instance).on_error != "default":
            return None
        if item >= 0:
            self.defaults.append((instance, item))
        return f"nothing for {instance}[{item}]"

    def request(self, instance: InstanceId, item: int, sequence: int) -> CallRequest:
        """Spell an item's prompt out."""
        stage, prompt = self.declared.stage(instance), self.declared.prompt(instance, item)
        self.calls.append((instance, item, prompt))
        return CallRequest(
            model=stage.model,
            parts=tuple(PromptPart(key=s.key, text=spelled(s)) for s in prompt),
            max_tokens=stage.max_tokens,
            sequence=sequence,
            seed=len(self.calls) - 1,
        )

    def run_tool(self, instance: InstanceId, item: int) -> str:
        """Say which tool it was."""
        return f"{instance}[{item}]"

    def own_call(self, instance: InstanceId, item: int) -> None:
        """Have no own code."""

    def check(self, instance: InstanceId, item: int, text: str) -> str | None:
        """Accept everything."""

    def learn(self, request: CallRequest, result: CallResult) -> None:
        """Know all lengths already."""

    def recall(self, message: Event | Command) -> None:
        """Take note of what a former process was told."""
        self.declared.recall(message)


@dataclass(slots=True)
class Log:
    """A journal in memory, with how much of it is committed."""

    records: list[Record] = field(default_factory=list[Record])
    committed: int = 0

    def append(self, record: Record) -> None:
        """Add a record."""
        self.records.append(record)

    def commit(self) -> None:
        """Note how far it is durable."""
        self.committed = len(self.records)

    def sync(self) -> None:
        """Nothing outlasts this process."""


class TextKeeper(OutputWriter, Protocol):
    """Outputs that can be looked at."""

    texts: dict[tuple[str, int], str]


@dataclass(slots=True)
class Texts:
    """Outputs in memory."""

    texts: dict[tuple[str, int], str] = field(default_factory=dict[tuple[str, int], str])

    def put(self, instance: str, item: int, text: str, meta: dict[str, Any]) -> None:
        """Keep a text; every item is put once."""
        assert (instance, item) not in self.texts, f"{instance}[{item}] was put twice"
        self.texts[instance, item] = text

    def get(self, instance: str, item: int) -> str:
        """Return a text."""
        return self.texts[instance, item]


@dataclass(slots=True)
class _Rig:
    """What a device's fake engine asks: texts, durations, and waits at exact virtual times.

    The clock waits once per call, until its end: the simulator adds prefill and decode before it
    adds them to the time, and sums of floats depend on their order.
    """

    bench: "Bench"
    device: str
    took: Measured = field(default_factory=lambda: Measured(0, 0.0, 0.0))
    waits_s: deque[float] = field(default_factory=deque[float])

    def answer(self, request: CallRequest) -> str:
        """Work out a whole call when it begins."""
        bench, (instance, item, prompt) = self.bench, self.bench.calls[request.seed]
        stage = bench.declared.stage(instance)
        text = Segment(item_key(instance, item), bench.physics.length(stage, instance, item))
        self.took = bench.physics.call(
            self.device, request.model, prompt, text, request.sequence, running=1
        )
        return spelled(text)

    def seconds(self, work: FakeWork) -> float:
        """Return how long a piece of work takes, and how long to wait in it."""
        physics, nonce = self.bench.physics, self.bench.nonce
        match work.kind:
            case "prefill":
                self.waits_s.append(0.0)
                return self.took.prefill_s
            case "decode":
                self.waits_s.append(self.took.prefill_s + self.took.decode_s)
                return self.took.decode_s
            case "load":
                seconds = physics.load_s(self.device, work.model, nonce[self.device, work.model])
            case "save":
                if (self.device, work.model) in self.bench.unloading:
                    physics.park(self.device, work.model, work.sequence)
                seconds = 0.0
            case "restore":
                move = self.bench.moves.pop((self.device, work.model, work.sequence), None)
                if move is None:
                    physics.restore(self.device, work.model, work.sequence)
                seconds = 0.0 if move is None else state_seconds(physics.move(move))
            case "unload":
                seconds = physics.unload_s(self.device, work.model, nonce[self.device, work.model])
        self.waits_s.append(seconds)
        return seconds

    def sleep(self, seconds: float) -> Coroutine[Any, Any, None]:
        """Wait as `seconds` has just said, even if the wait is cancelled before it begins."""
        return self.bench.clock.sleep(self.waits_s.popleft())


class ModelledPlanner:
    """Plans at once and answers after the modelled time."""

    def __init__(self, policy: Policy, clock: Clock) -> None:
        self.policy, self._clock = policy, clock

    def at_once(self, request: RequestPlan) -> None:
        """Never: planning takes its time."""

    async def plan(self, request: RequestPlan) -> Planned | PlanFailed:
        """Return the policy's answer."""
        event = answer(self.policy, request)
        await self._clock.sleep(PLANNING_S)
        return event


class Prefetching:
    """A policy that wants every model on the first device."""

    name, eager, inline = "prefetching", False, True
    lookahead: Lookahead = "near"

    def plan(self, snapshot: Snapshot, memo: Memo | None) -> Plan:
        """Plan as the fallback does, with loads on top."""
        plan = greedy_plan(snapshot)
        return replace(plan, prefetch=tuple(Prefetch(0, m) for m in range(3)))


class Bench:
    """A runtime on fake engines, in virtual time by default, with all it touches in reach.

    Devices have one compute slot: `_Rig` knows one call at a time.
    """

    def __init__(
        self,
        setup: Setup,
        graphs: Sequence[Graph],
        truth: Truth | None = None,
        *,
        limits: Limits | None = None,
        clock: Clock | None = None,
        log: Log | None = None,
        outputs: TextKeeper | None = None,
        on_record: Callable[[Record], None] | None = None,
        faults: Sequence[Fault] = (),
    ) -> None:
        self.setup, self.graphs = setup, graphs
        self.clock, self.log, self.outputs = (
            clock or VirtualClock(),
            log or Log(),
            outputs or Texts(),
        )
        truth = truth or Truth(profile=setup.profile)
        self.physics = Physics(setup.cluster, truth, setup.seed)
        self.calls: list[tuple[InstanceId, int, Path]] = []
        self.declared = declared_in(truth, self.physics)
        for graph in graphs:
            self.declared.arrive(graph)
        self.works = {graph.id: DeclaredWork(self.declared, self.calls) for graph in graphs}
        self.nonce: dict[tuple[str, str], str] = {}
        self.unloading: set[tuple[str, str]] = set()
        self.moves: dict[tuple[str, str, int], Move] = {}
        self.engines = {d.id: self._engine(setup.cluster, d) for d in setup.cluster.devices}
        self._told = on_record
        self.tool: Callable[..., Coroutine[None, None, str]] = self._in_virtual_time
        self.injector = Injector(self.engines, faults, self.clock)
        self.executor = Executor(
            self.injector.engines,
            self.works,
            self.outputs,
            limits,
            in_thread=self._in_thread,
        )
        self.executor.states.sleep = self.clock.sleep
        self.executor.injected = self.injector
        self.planner = ModelledPlanner(setup.policy, self.clock)
        self.runtime = Runtime(
            setup,
            self.executor,
            self.log,
            clock=self.clock,
            planner=self.planner,
            on_record=self._on_record,
        )

    async def run(self, left: Recovered | None = None) -> Outcome:
        """Open the engines and run everything to its end, or go on where a run was left."""
        for engine in self.engines.values():
            await engine.open()
        async with self.injector:
            if left is not None:
                return await self.runtime.resume(left)
            return await self.runtime.run(self.graphs)

    def _engine(self, cluster: Cluster, device: Device) -> FakeEngine:
        rig = _Rig(self, device.id)
        return FakeEngine(device, cluster.models, clock=rig, seconds=rig.seconds, answer=rig.answer)

    async def _in_thread(self, function: Callable[[str, int], str], /, *args: Any) -> str:
        return await self.tool(function, *args)

    async def _in_virtual_time(self, function: Callable[[str, int], str], *args: Any) -> str:
        instance, item = args
        stage = self.declared.stage(instance)
        await self.clock.sleep(stage.tool_s * self.physics.factor("tool", instance, str(item)))
        return function(instance, item)

    def _on_record(self, record: Record) -> None:
        """Note which activity a load is before it begins: noise is drawn by attempt."""
        for command in record.commands:
            if isinstance(command, Load | Unload):
                self.nonce[command.device, command.model] = str(command.activity)
                pair = (command.device, command.model)
                (self.unloading.add if isinstance(command, Unload) else self.unloading.discard)(
                    pair
                )
            elif isinstance(command, Move):
                self.moves[command.device, command.model, command.sequence] = command
        if self._told is not None:
            self._told(record)
