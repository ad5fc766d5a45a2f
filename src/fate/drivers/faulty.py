"""Faults in virtual time: the simulator under a fault plan, as the runtime on faulty engines is."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import Literal

from msgspec.structs import replace

from fate.core.scheduler import Scheduler
from fate.domain.faults import (
    DISK_FULL,
    Fault,
    Schedule,
    Window,
    loss,
    refusal,
    times_longer,
)
from fate.domain.graph import Graph
from fate.domain.messages import (
    Activity,
    ActivityId,
    Call,
    Cancel,
    Cancelled,
    Command,
    DeviceLost,
    DeviceReady,
    Done,
    Event,
    Failed,
    ItemDone,
    Load,
    Move,
    Record,
    RunTool,
    Submitted,
    Unload,
    Warm,
)
from fate.drivers.execute import NEGATIVE, nonsense_of
from fate.drivers.keeper import MISSES, MISSES_SERVED, PULSE_S, hang
from fate.drivers.setup import Outcome, Setup, in_order
from fate.drivers.simulate import PLANNING_S, Simulation
from fate.drivers.world import Truth, World
from fate.policy.base import Policy

#: Stands for an alarm in the heap of events; never handed to the core.
_TICK = ItemDone(activity=0, item=0)


@dataclass(slots=True)
class _Device:
    """A device as the runtime's keeper and its engine know it."""

    managed: bool
    lost: bool = False
    dead: bool = False
    back_s: float = 0.0
    missed: int = 0
    running: set[ActivityId] = field(default_factory=set[ActivityId])


class FaultySimulation(Simulation):
    """A simulation in which things go wrong as planned."""

    def __init__(
        self,
        core: Scheduler,
        policy: Policy,
        world: World,
        planning_s: float,
        faults: Sequence[Fault],
    ) -> None:
        super().__init__(core, policy, world, planning_s)
        self._schedule = Schedule(faults)
        self._devices = {d.id: _Device(d.managed) for d in world.cluster.devices}
        self._alarms: list[tuple[float, int, Literal["kill", "pulse"], str]] = []
        self._cancelled.add(_TICK.activity)
        self._where: dict[ActivityId, str] = {}
        for device, windows in self._schedule.windows.items():
            for window in windows:
                self._expect(device, window)

    def _expect(self, device: str, window: Window) -> None:
        """Set the alarms of a fault: the kill itself, or the next pulse of a stopped device."""
        if window.kind == "kill":
            self._ring(window.begin_s, "kill", device)
        elif window.kind == "stop":
            self._next_pulse(device, window.begin_s, first=True)

    def _ring(self, at_s: float, what: Literal["kill", "pulse"], device: str) -> None:
        heappush(self._alarms, (at_s, next(self._sequence), what, device))
        self.push(at_s, _TICK)

    def _next_pulse(self, device: str, now_s: float, *, first: bool = False) -> None:
        beat = int(now_s / PULSE_S) + 1
        if first and (beat - 1) * PULSE_S == now_s:
            beat -= 1
        self._ring(beat * PULSE_S, "pulse", device)

    def _next_batch(self) -> tuple[float, list[Event]]:
        now_s = self._heap[0][0]
        while self._alarms and self._alarms[0][0] <= now_s:
            _, _, what, device = heappop(self._alarms)
            if what == "kill":
                self._kill(device, now_s)
            else:
                self._pulse(device, now_s)
        now_s, batch = super()._next_batch()
        if self._schedule.holds("disk_full", "", now_s):
            batch = self._unstored(batch)
        for event in batch:
            match event:
                case Done() | Failed() | Cancelled():
                    self._over(event.activity)
                case DeviceReady(device=device):
                    self._devices[device].lost = self._devices[device].dead = False
                case _:
                    pass
        return now_s, batch

    def _unstored(self, batch: list[Event]) -> list[Event]:
        """Return a batch whose items cannot be stored: their activities fail instead."""
        failed: list[Event] = []
        for event in batch:
            if isinstance(event, ItemDone) and event.activity not in self._cancelled:
                self._cancelled.add(event.activity)
                failed.append(Failed(activity=event.activity, reason=DISK_FULL))
        return in_order([*failed, *[event for event in batch if not self._prevented(event)]])

    def _over(self, activity: ActivityId) -> None:
        device = self._where.pop(activity, None)
        if device is not None:
            self._devices[device].running.discard(activity)

    def _kill(self, device: str, now_s: float) -> None:
        windows = self._schedule.windows[device]
        kill = next(w for w in windows if w.kind == "kill" and w.begin_s == now_s)
        state = self._devices[device]
        state.dead, state.back_s = True, kill.until_s
        if state.running:
            self._lose(device, loss(device), now_s)

    def _pulse(self, device: str, now_s: float) -> None:
        """Do as the keeper does at a beat."""
        state = self._devices[device]
        if not self._schedule.holds("stop", device, now_s):
            state.missed = 0
            return
        if not state.lost and (state.running or state.missed):
            state.missed += 1
            if state.missed >= (MISSES if state.managed else MISSES_SERVED):
                state.missed = 0
                self._lose(device, hang(device), now_s)
                return
        self._next_pulse(device, now_s)

    def _lose(self, device: str, reason: str, now_s: float) -> None:
        """The device is gone with what ran there, and comes back as soon as it may."""
        state = self._devices[device]
        if state.lost:
            return
        state.lost = True
        for activity in state.running:
            self._cancelled.add(activity)
            self._where.pop(activity, None)
        state.running.clear()
        back_s = max(now_s, state.back_s)
        final = back_s == float("inf")
        self._schedule.ends("stop", device, back_s)
        self.push(now_s, DeviceLost(device=device, reason=reason, final=final))
        if not final:
            self.push(back_s, DeviceReady(device=device))

    def _execute(self, command: Command, now_s: float) -> None:
        match command:
            case Cancel(activity=activity):
                super()._execute(command, now_s)
                self._over(activity)
            case Load() | Unload() | Move() | Warm() | Call():
                self._begin(command, now_s)
            case RunTool():
                self._push_all("", command, self.world.sample(command, now_s), now_s)
            case _:
                super()._execute(command, now_s)

    def _begin(self, command: Load | Unload | Move | Warm | Call, now_s: float) -> None:
        device = command.device
        for window in self._schedule.begins(device, type(command).__name__.lower(), now_s):
            self._expect(device, window)
        state = self._devices[device]
        state.running.add(command.activity)
        self._where[command.activity] = device
        if state.dead:
            self._lose(device, loss(device), now_s)
        elif isinstance(command, Load) and self._schedule.meets("refuse_load", device, now_s):
            self.push(now_s, Failed(activity=command.activity, reason=refusal(device)))
        else:
            self._push_all(device, command, self.world.sample(command, now_s), now_s)

    def _push_all(
        self, device: str, command: Activity, events: Sequence[tuple[float, Event]], now_s: float
    ) -> None:
        """Let an activity's events happen later where the device is slowed, or not at all."""
        plain_s = late_s = now_s
        for at_s, event in events:
            lies = isinstance(event, ItemDone) and self._schedule.meets("corrupt", device, late_s)
            end_s = late_s + _took_s(event, at_s - plain_s) if late_s != plain_s else at_s
            begin_s, plain_s = late_s, at_s
            late_s = self._schedule.stretched(device, begin_s, end_s)
            if late_s == float("inf"):
                return
            if lies:
                reason = nonsense_of(device, NEGATIVE)
                self.push(late_s, Failed(activity=command.activity, reason=reason))
                return
            self.push(late_s, _longer(event, times_longer(begin_s, end_s, late_s)))


def _took_s(event: Event, otherwise_s: float) -> float:
    """Return what an event's work takes, as the engine adds it up."""
    match event:
        case ItemDone() if event.prefill_s or event.decode_s:
            return event.prefill_s + event.decode_s
        case Done() if event.seconds:
            return event.seconds
        case _:
            return otherwise_s


def _longer(event: Event, times: float) -> Event:
    """Return an event with the seconds that its work really took."""
    match event:
        case ItemDone():
            return replace(
                event, prefill_s=event.prefill_s * times, decode_s=event.decode_s * times
            )
        case Done():
            return replace(event, seconds=event.seconds * times)
        case _:
            return event


def simulate_faults(
    arrivals: Iterable[tuple[float, Graph]],
    setup: Setup,
    faults: Sequence[Fault],
    truth: Truth | None = None,
    *,
    world: World | None = None,
    on_record: Callable[[Record], None] | None = None,
) -> Outcome:
    """Run workflows in virtual time under a fault plan; as `simulate` where there are no faults.

    `world` answers the commands in place of the one that `truth` makes; `on_record` is told of
    every step as it is taken.
    """
    world = world or World(setup.cluster, truth or Truth(profile=setup.profile), setup.seed)
    simulation = FaultySimulation(setup.scheduler(), setup.policy, world, PLANNING_S, faults)
    for at_s, graph in arrivals:
        world.arrive(graph)
        simulation.push(at_s, Submitted(graph=graph))
    return simulation.run(on_record)
