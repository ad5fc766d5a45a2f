"""The core under any legal history: random work, outcomes, faults and plans.

`Ledger` keeps its own account of what the commands did to devices, apart from the core's.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Literal

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)
from msgspec.structs import replace
from tests.graphs import cluster, profile
from tests.random_graphs import graphs, named

from fate.core import invariants
from fate.core.options import SchedulerOptions
from fate.core.scheduler import Scheduler
from fate.domain.catalog import Cluster
from fate.domain.graph import Chunk, Graph, InstanceId, Segment, Stage
from fate.domain.messages import (
    Activity,
    Call,
    Cancel,
    CancelAll,
    Cancelled,
    Command,
    DeviceLost,
    DeviceReady,
    Done,
    Drained,
    Dropped,
    Event,
    Expand,
    Expanded,
    ExpandFailed,
    Failed,
    ItemDone,
    Load,
    Move,
    PlanFailed,
    PlanLate,
    Planned,
    Readmitted,
    RequestPlan,
    Reuse,
    RunTool,
    Skipped,
    Submitted,
    Twin,
    Unload,
    WakeAt,
    Woke,
    WorkflowEnded,
)
from fate.domain.plan import Plan, Prefetch
from fate.drivers.declared import Declared
from fate.drivers.setup import in_order
from fate.policy.greedy import greedy_plan

#: How often, towards the end, things go wrong.
_BAD = 0.06

Closing = Literal["greedy", "empty", "failing", "silent"]
CLOSINGS: tuple[Closing, ...] = ("greedy", "empty", "failing", "silent")


@dataclass(slots=True)
class Ledger:
    """What the commands did, by an account of its own."""

    cluster: Cluster
    running: dict[int, Activity] = field(default_factory=dict[int, Activity])
    cancelling: set[int] = field(default_factory=set[int])
    items_left: dict[int, list[int]] = field(default_factory=dict[int, list[int]])
    resident: set[tuple[str, str]] = field(default_factory=set[tuple[str, str]])
    parked: set[tuple[str, str, int]] = field(default_factory=set[tuple[str, str, int]])
    lost: set[str] = field(default_factory=set[str])
    final: set[str] = field(default_factory=set[str])
    done: Counter[tuple[InstanceId, int]] = field(default_factory=Counter[tuple[InstanceId, int]])
    dropped: set[tuple[InstanceId, int]] = field(default_factory=set[tuple[InstanceId, int]])
    expanding: list[InstanceId] = field(default_factory=list[InstanceId])
    wakes: list[float] = field(default_factory=list[float])
    request: RequestPlan | None = None
    late_told: bool = False
    ended: dict[str, WorkflowEnded] = field(default_factory=dict[str, WorkflowEnded])
    last: int = 0

    def take(self, command: Command) -> None:
        """Write a command down; refuse what an engine would refuse."""
        match command:
            case Expand(instance=instance):
                self.expanding.append(instance)
            case RequestPlan():
                assert self.request is None, "two plans in flight"
                self.request, self.late_told = command, False
            case WakeAt(at_s=at_s):
                self.wakes.append(at_s)
            case WorkflowEnded(workflow=workflow):
                assert workflow not in self.ended
                self.ended[workflow] = command
            case Cancel(activity=activity):
                assert isinstance(self.running[activity], Call | RunTool | Move)
                self.cancelling.add(activity)
            case Reuse(source=source, source_item=source_item):
                assert self.done[source, source_item] == 1, f"{command} of nothing"
                assert not self.done[command.instance, command.item]
                self.done[command.instance, command.item] += 1
            case Dropped(instance=instance, item=item):
                assert (instance, item) not in self.dropped, f"{command} again"
                self.dropped.add((instance, item))
            case Drained() | Readmitted():
                pass
            case _:
                self._begin(command)

    def _begin(self, command: Activity) -> None:
        assert command.activity > self.last, "attempt numbers are never reused"
        self.last = command.activity
        device = "" if isinstance(command, RunTool) else command.device
        mates = [a for a in self.running.values() if getattr(a, "device", "") == device]
        assert device not in self.lost, f"{command} on a lost device"
        match command:
            case Load(model=model, restore=restore):
                assert (device, model) not in self.resident
                back = {k for name, of, k in self.parked if (name, of) == (device, model)}
                assert len(restore) == len(back) and set(restore) == back
                self._loader_free(mates)
                self.resident.add((device, model))
                self._fits(device)
            case Unload(model=model, discard=discard):
                assert (device, model) in self.resident
                self._loader_free(mates)
                gone = {(device, state.model, state.sequence) for state in discard}
                assert len(gone) == len(discard) and gone <= self.parked
                self.parked -= gone
                assert not [a for a in mates if getattr(a, "model", "") == model]
                assert not [a for a in self._moves() if (a.source, a.model) == (device, model)]
            case Call(model=model, chunk=chunk, sequence=sequence):
                assert (device, model) in self.resident
                assert not [a for a in mates if isinstance(a, Load | Unload) and a.model == model]
                calls = [a for a in mates if isinstance(a, Call)]
                assert len(calls) < self._slots(device)
                assert not [a for a in calls if (a.model, a.sequence) == (model, sequence)]
                self._items(command.activity, chunk)
            case Move(model=model, sequence=sequence):
                assert (device, model) in self.resident
                self._sent(command)
                assert (command.source, command.source_sequence) != (device, sequence)
                assert (command.bytes_per_s > 0.0) == (command.source != device)
                used = [a for a in mates if isinstance(a, Call | Move)]
                assert not [a for a in used if (a.model, a.sequence) == (model, sequence)]
            case RunTool(chunk=chunk):
                assert len(mates) < self.cluster.tool_slots
                self._items(command.activity, chunk)
            case _:
                raise AssertionError(f"nobody asked for {command}")
        self.running[command.activity] = command

    def _moves(self) -> list[Move]:
        return [a for a in self.running.values() if isinstance(a, Move)]

    def _sent(self, move: Move) -> None:
        """The source is parked, or is an idle sequence of a model that stays."""
        state = (move.source, move.model, move.source_sequence)
        if state in self.parked:
            return
        assert state[:2] in self.resident
        here = [a for a in self.running.values() if getattr(a, "device", "") == move.source]
        assert not [a for a in here if isinstance(a, Load | Unload) and a.model == move.model]
        calls = [a for a in here if isinstance(a, Call | Move)]
        assert state[1:] not in [(a.model, a.sequence) for a in calls]
        others = [(a.source, a.model, a.source_sequence) for a in self._moves()]
        assert state not in others

    def _loader_free(self, mates: list[Activity]) -> None:
        assert not [a for a in mates if isinstance(a, Load | Unload)], "one loader per device"

    def _items(self, activity: int, chunk: Chunk) -> None:
        items = list(range(chunk.start, chunk.stop))
        for other, left in self.items_left.items():
            at_work = self.running[other]
            assert isinstance(at_work, Call | RunTool)
            if at_work.chunk.instance == chunk.instance:
                assert not set(left) & set(items), "an item runs twice"
        assert items and not any(self.done[chunk.instance, item] for item in items)
        self.items_left[activity] = items

    def _slots(self, device: str) -> int:
        return next(d.slots for d in self.cluster.devices if d.id == device)

    def _fits(self, device: str) -> None:
        sizes = {model.id: model.footprint_bytes for model in self.cluster.models}
        held = sum(sizes[model] for name, model in self.resident if name == device)
        assert held <= next(d.memory_bytes for d in self.cluster.devices if d.id == device)

    def end(self, activity: int, *, well: bool) -> None:
        """An activity is over; a load that failed and an unload that did not leave no model."""
        command = self.running.pop(activity)
        if well and isinstance(command, Unload):
            assert not [p for p in self.parked if p[:2] == (command.device, command.model)]
            kept = [k for k in command.park if k not in self.missing(command)]
            self.parked |= {(command.device, command.model, k) for k in kept}
        elif well and isinstance(command, Load):
            self.parked -= {(command.device, command.model, k) for k in command.restore}
        self.items_left.pop(activity, None)
        self.cancelling.discard(activity)
        if isinstance(command, Load | Unload) and well == isinstance(command, Unload):
            self.resident.discard((command.device, command.model))

    def item_done(self, activity: int, seconds: float = 0.1) -> ItemDone:
        """Let an activity finish its next item."""
        command, item = self.running[activity], self.items_left[activity].pop(0)
        assert isinstance(command, Call | RunTool)
        self.done[command.chunk.instance, item] += 1
        return ItemDone(
            activity=activity,
            item=item,
            prompt_tokens=150,
            cached_tokens=20,
            output_tokens=20,
            prefill_s=seconds,
            decode_s=seconds,
        )

    def missing(self, command: Activity) -> tuple[int, ...]:
        """Every third time a state cannot be saved or restored."""
        states = command.park if isinstance(command, Unload) else ()
        states = command.restore if isinstance(command, Load) else states
        return states[:1] if command.activity % 3 == 0 else ()

    def finish(self, activity: int) -> list[Event]:
        """Let an activity end well, all its items first."""
        events: list[Event] = []
        while self.items_left.get(activity):
            events.append(self.item_done(activity))
        missing = self.missing(self.running[activity])
        self.end(activity, well=True)
        return [*events, Done(activity=activity, seconds=0.3, missing=missing)]

    def lose(self, device: str, *, final: bool) -> None:
        """A device is gone with all it held."""
        for activity, command in list(self.running.items()):
            if not isinstance(command, RunTool) and command.device == device:
                self.end(activity, well=False)
        self.resident = {pair for pair in self.resident if pair[0] != device}
        self.parked = {state for state in self.parked if state[0] != device}
        self.lost.add(device)
        if final:
            self.final.add(device)


class SchedulerMachine(RuleBasedStateMachine):
    """Any order of submissions, expansions, outcomes, faults, plans, alarms and a stop."""

    @initialize(
        devices=st.integers(1, 3),
        memory_mib=st.sampled_from([70, 100, 160]),
        slots=st.integers(1, 2),
        chunk_s=st.sampled_from([0.0, 0.3, 5.0]),
        attempts=st.integers(1, 3),
        backoff_s=st.sampled_from([0.0, 0.0, 2.0]),
        failures=st.sampled_from([1, 3]),
        eager=st.booleans(),
        park_bytes=st.sampled_from([0, 50_000, 1 << 30]),
        link_bytes_per_s=st.sampled_from([0.0, 1e9]),
        closing=st.sampled_from(CLOSINGS),
        seed=st.integers(0, 1000),
    )
    def begin(
        self,
        devices: int,
        memory_mib: int,
        slots: int,
        chunk_s: float,
        attempts: int,
        backoff_s: float,
        failures: int,
        eager: bool,
        park_bytes: int,
        link_bytes_per_s: float,
        closing: Closing,
        seed: int,
    ) -> None:
        """Set up a cluster and a core."""
        on = cluster(
            devices,
            memory_mib,
            slots,
            tool_slots=2,
            park_bytes=park_bytes,
            link_bytes_per_s=link_bytes_per_s,
        )
        options = SchedulerOptions(
            chunk_s=chunk_s,
            max_attempts=attempts,
            retry_backoff_s=backoff_s,
            breaker_failures=failures,
            cool_down_s=4.0,
            max_wait_s={"default": 20.0},
            frontier_min=4,
            frontier_max=6,
            prefetch=bool(seed % 2),
        )
        self.core = Scheduler(on, replace(profile(on), source="declared"), options, eager=eager)
        self.ledger = Ledger(on)
        self.graphs: dict[str, Graph] = {}
        self.declared = Declared(lambda _what, _about: 0.0)
        self.closing: Closing = closing
        self.random = Random(seed)  # noqa: S311  # not a secret
        self.now_s = 0.0
        self.batch: list[Event] = []
        self.holding = False
        self.plans: list[Plan] = []
        self.stopped = False

    # --- what happens -------------------------------------------------------------------

    @rule(shape=graphs(), urgent=st.booleans())
    def submit(self, shape: tuple[Stage, ...], urgent: bool) -> None:
        """A workflow arrives."""
        if len(self.graphs) < 4 and not self.stopped:
            name = f"w{len(self.graphs)}"
            self.graphs[name] = named(name, shape, "interactive" if urgent else "default")
            self.declared.arrive(self.graphs[name])
            self._send(Submitted(graph=self.graphs[name]))

    @precondition(lambda self: self.ledger.expanding)
    @rule(data=st.data(), how=st.integers(0, 15), more=st.integers(-2, 3), twins=st.booleans())
    def expand(self, data: st.DataObject, how: int, more: int, twins: bool) -> None:
        """An instance is rendered, perhaps into more or fewer items than declared, or skipped."""
        name = data.draw(st.sampled_from(self.ledger.expanding))
        self.ledger.expanding.remove(name)
        if how == 0:
            self._send(ExpandFailed(instance=name, reason="no such field"))
        elif how == 1:
            self._send(Skipped(instance=name))
        else:
            answer = self._expanded(name, more)
            if twins and isinstance(answer, Expanded):
                answer = replace(answer, twins=self._twins(answer, data))
            self._send(answer)

    @precondition(lambda self: self.ledger.running)
    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        """An activity ends well."""
        self._send(*self.ledger.finish(self._any_running(data)))

    @precondition(lambda self: any(self.ledger.items_left.values()))
    @rule(data=st.data(), seconds=st.sampled_from([0.1, 9.0]))
    def item(self, data: st.DataObject, seconds: float) -> None:
        """One item of a call or a tool is done, as quickly as it should be or not."""
        busy = [activity for activity, left in self.ledger.items_left.items() if left]
        self._send(self.ledger.item_done(data.draw(st.sampled_from(busy)), seconds))

    @precondition(lambda self: self.ledger.running)
    @rule(data=st.data(), how=st.sampled_from(["retry", "final", "lie", "cancelled", "busy"]))
    def fail(self, data: st.DataObject, how: str) -> None:
        """An activity fails, also to be left alone, is done with items open, or is cancelled."""
        activity = self._any_running(data)
        lie = how == "lie" and bool(self.ledger.items_left.get(activity))
        self.ledger.end(activity, well=False)
        if how == "cancelled":
            self._send(Cancelled(activity=activity))
        elif lie:
            self._send(Done(activity=activity))
        else:
            wait_s = 7.0 if how == "busy" else 0.0
            self._send(
                Failed(activity=activity, reason="broken", retryable=how != "final", wait_s=wait_s)
            )

    @precondition(lambda self: self.ledger.cancelling)
    @rule(data=st.data())
    def obey(self, data: st.DataObject) -> None:
        """An activity stops because it was asked to."""
        activity = data.draw(st.sampled_from(sorted(self.ledger.cancelling)))
        self.ledger.end(activity, well=False)
        self._send(Cancelled(activity=activity))

    @precondition(lambda self: len(self.ledger.final) < len(self.ledger.cluster.devices))
    @rule(data=st.data(), final=st.integers(0, 7))
    def lose(self, data: st.DataObject, final: int) -> None:
        """A device is gone, or given up."""
        names = [d.id for d in self.ledger.cluster.devices if d.id not in self.ledger.final]
        device = data.draw(st.sampled_from(names))
        if device in self.ledger.lost and final:
            return
        self.ledger.lose(device, final=final == 0)
        self._send(DeviceLost(device=device, reason="gone", final=final == 0))

    @precondition(lambda self: self.ledger.lost - self.ledger.final)
    @rule(data=st.data())
    def restore(self, data: st.DataObject) -> None:
        """A lost device is back."""
        device = data.draw(st.sampled_from(sorted(self.ledger.lost - self.ledger.final)))
        self.ledger.lost.discard(device)
        self._send(DeviceReady(device=device))

    @precondition(lambda self: self.ledger.last)
    @rule(data=st.data(), kind=st.sampled_from([Done, Cancelled]))
    def late_outcome(self, data: st.DataObject, kind: type[Done] | type[Cancelled]) -> None:
        """An old attempt reports, again or too late."""
        activity = data.draw(st.integers(1, self.ledger.last))
        if activity not in self.ledger.running:
            self._flush()  # else it might be early: what ended it may be in the same batch
            self._send(
                ItemDone(activity=activity, item=0),
                kind(activity=activity),
                Failed(activity=activity, reason="late", retryable=False),
            )

    @precondition(lambda self: self.ledger.request)
    @rule(data=st.data(), kind=st.sampled_from(["greedy", "random", "empty", "stale", "nonsense"]))
    def plan(self, data: st.DataObject, kind: str) -> None:
        """A plan comes: sensible, random, empty, of another time, or absurd."""
        request = self.ledger.request
        assert request is not None
        self.ledger.request = None
        plan = self._plan_of(kind, request, data)
        self.plans.append(plan)
        self._send(Planned(version=request.version, plan=plan))

    @precondition(lambda self: self.ledger.request)
    @rule()
    def plan_failed(self) -> None:
        """The policy raises."""
        request, self.ledger.request = self.ledger.request, None
        assert request is not None
        self._send(PlanFailed(version=request.version, reason="a bug"))

    @precondition(lambda self: self.ledger.request)
    @rule()
    def plan_late(self) -> None:
        """The policy takes too long."""
        assert self.ledger.request is not None
        self._send(PlanLate(version=self.ledger.request.version))

    @precondition(lambda self: self.plans)
    @rule(data=st.data())
    def plan_of_old(self, data: st.DataObject) -> None:
        """Answers to requests that are over are heard of again."""
        request = self.ledger.request
        version = request.version - 1 if request is not None else 0
        plan = data.draw(st.sampled_from(self.plans))
        self._send(
            Planned(version=version, plan=plan),
            PlanLate(version=version),
            PlanFailed(version=version, reason="late"),
        )

    @rule(seconds=st.sampled_from([0.5, 5.0, 30.0]))
    def time_passes(self, seconds: float) -> None:
        """Alarms that are due go off."""
        self.now_s += seconds
        due = [at_s for at_s in self.ledger.wakes if at_s <= self.now_s]
        self.ledger.wakes = [at_s for at_s in self.ledger.wakes if at_s > self.now_s]
        self._send(*[Woke(at_s=at_s) for at_s in due])

    @rule()
    def hold(self) -> None:
        """The next things happen at once: one batch."""
        self.holding = True

    @precondition(lambda self: self.graphs)
    @rule(chance=st.integers(0, 9))
    def stop(self, chance: int) -> None:
        """The user stops the run."""
        if chance == 0:
            self.stopped = True
            self._send(CancelAll())

    @invariant()
    def sound(self) -> None:
        """Nothing is ever half done between two steps."""
        if hasattr(self, "core"):
            invariants.check(self.core)

    def teardown(self) -> None:
        """Let everything end, under a policy of any kind; every item of the rest was done once."""
        if not hasattr(self, "core"):
            return
        self._flush()
        for _ in range(5000):
            if self.core.finished:
                break
            events = self._next_events()
            assert events, "stuck: nothing runs, nothing is asked for"
            self._send(*events)
            self._flush()
            invariants.check(self.core)
        assert self.core.finished, "no end in sight"
        assert set(self.ledger.ended) == set(self.graphs)
        for name, end in self.ledger.ended.items():
            if end.status == "ok":
                self._check_done(name)
            else:
                assert end.reason

    # --- how ------------------------------------------------------------------------------

    def _send(self, *events: Event) -> None:
        self.batch += events
        if len(self.batch) > len(events) or not self.holding:
            self._flush()

    def _flush(self) -> None:
        batch, self.batch, self.holding = in_order(self.batch), [], False
        if not batch:
            return
        self.now_s += 0.01
        commands = self.core.handle(batch, self.now_s)
        assert sum(isinstance(command, RequestPlan) for command in commands) <= 1
        for command in commands:
            self.ledger.take(command)

    def _any_running(self, data: st.DataObject) -> int:
        return data.draw(st.sampled_from(list(self.ledger.running)))

    def _expanded(self, name: InstanceId, more: int = 0) -> Event:
        stage = self.declared.stage(name)
        if stage.kind == "group":
            return self.declared.expand(name)
        count = max(stage.items + more, 0) if stage.mapped else 1
        tails = tuple((Segment(f"{name}-{i}", 10 + i),) for i in range(count))
        return Expanded(instance=name, head=stage.prompt[:-1], tails=tails)

    def _twins(self, answer: Expanded, data: st.DataObject) -> tuple[Twin, ...]:
        """Return twins of anything there is, and of some things that are not."""
        names = st.sampled_from([*self.core.lifecycle.instances, "w9/s9"])
        items = st.integers(0, max(len(answer.tails), 1))
        twins = st.builds(Twin, items, names, items)
        return tuple(data.draw(st.lists(twins, max_size=3)))

    def _plan_of(self, kind: str, request: RequestPlan, data: st.DataObject) -> Plan:
        snapshot, devices = request.snapshot, request.snapshot.devices
        if kind == "greedy":
            return greedy_plan(snapshot)
        if kind == "stale" and self.plans:
            return data.draw(st.sampled_from(self.plans))
        orders: list[list[Chunk]] = [[] for _ in range(devices)]
        prefetch: list[Prefetch] = []
        if kind in ("random", "nonsense"):
            for chunk in data.draw(st.permutations(snapshot.chunks)):
                orders[data.draw(st.integers(0, devices - 1))].append(chunk)
            wish = st.builds(Prefetch, st.integers(0, devices - 1), st.integers(0, 2))
            prefetch = data.draw(st.lists(wish, max_size=2))
        if kind == "nonsense":
            orders = [order + orders[0] for order in orders]
            orders.append([Chunk("w9/s9", 0, 1), *snapshot.chunks])
            orders[0].insert(0, Chunk("w0/s0", 3, 99))
            prefetch += [Prefetch(-1, 0), Prefetch(99, 99), Prefetch(0, -2)]
        return Plan(
            policy="test", orders=tuple(tuple(order) for order in orders), prefetch=tuple(prefetch)
        )

    def _next_events(self) -> Sequence[Event]:
        ledger = self.ledger
        if ledger.expanding:
            return [self._closing_expansion(ledger.expanding.pop(0))]
        if ledger.request is not None and not ledger.late_told:
            return [self._closing_answer(ledger.request)]
        if ledger.cancelling:
            activity = min(ledger.cancelling)
            ledger.end(activity, well=False)
            return [Cancelled(activity=activity)]
        if ledger.running:
            activity = self.random.choice(sorted(ledger.running))
            if self.random.random() < _BAD:
                ledger.end(activity, well=False)
                return [Failed(activity=activity, reason="broken", retryable=False)]
            return ledger.finish(activity)
        if ledger.lost - ledger.final:
            device = min(ledger.lost - ledger.final)
            ledger.lost.discard(device)
            return [DeviceReady(device=device)]
        return self._next_alarm()

    def _next_alarm(self) -> Sequence[Event]:
        """Nothing else is left to happen: time passes until the next alarm."""
        if not self.ledger.wakes:
            return []
        at_s = min(self.ledger.wakes)
        self.ledger.wakes.remove(at_s)
        self.now_s = max(self.now_s, at_s)
        return [Woke(at_s=at_s)]

    def _closing_expansion(self, name: InstanceId) -> Event:
        """Render an instance, by chance not, and with twins among those rendered before."""
        chance = self.random.random()
        if chance < 2 * _BAD:
            bad = ExpandFailed(instance=name, reason="no such field")
            return bad if chance < _BAD else Skipped(instance=name)
        answer = self._expanded(name)
        if isinstance(answer, Expanded) and self.random.random() < 5 * _BAD:
            sources = [i for i in self.core.lifecycle.instances.values() if i.tails]
            twins = [
                Twin(item, source.id, self.random.randrange(len(source.tails)))
                for item in range(len(answer.tails))
                if sources
                for source in [self.random.choice(sources)]
            ]
            answer = replace(answer, twins=tuple(twins))
        return answer

    def _closing_answer(self, request: RequestPlan) -> Event:
        ledger = self.ledger
        if self.closing == "silent":
            ledger.late_told = True
            return PlanLate(version=request.version)
        ledger.request = None
        if self.closing == "failing":
            return PlanFailed(version=request.version, reason="a bug")
        empty = Plan(policy="test", orders=((),) * request.snapshot.devices)
        plan = greedy_plan(request.snapshot) if self.closing == "greedy" else empty
        return Planned(version=request.version, plan=plan)

    def _check_done(self, workflow: str) -> None:
        for instance in self.core.lifecycle.instances.values():
            if instance.workflow.id != workflow:
                continue
            assert instance.ended, f"{instance.id} is {instance.status}"
            for item in range(len(instance.tails)) if instance.status == "done" else ():
                times = self.ledger.done[instance.id, item]
                given_up = (instance.id, item) in self.ledger.dropped
                assert times == 1 - given_up, f"{instance.id}[{item}]: {times}"


TestScheduler = SchedulerMachine.TestCase
TestScheduler.settings = settings(stateful_step_count=60)
