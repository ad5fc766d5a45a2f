"""What went wrong in a run, read from its journal, to go wrong again in a simulation of it.

Attempts at items that failed fail as often, whoever decides; devices that were lost are lost at the
same time for as long; the loads of a device that failed, by their number there, fail again. Spells
in which a device was slow come from `slow`, which has to know what work costs otherwise.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from fate.domain.faults import Fault
from fate.domain.graph import Chunk, InstanceId
from fate.domain.messages import (
    ActivityId,
    Call,
    DeviceLost,
    DeviceReady,
    Event,
    Failed,
    ItemDone,
    Load,
    LoggedCommand,
    Record,
    Resumed,
    RunTool,
)

#: An item of an instance.
Item = tuple[InstanceId, int]


@dataclass(slots=True)
class Mishaps:
    """Failed attempts by item, in order; losses of devices; loads that failed; slow spells."""

    failures: dict[Item, list[Failed]] = field(default_factory=dict[Item, list[Failed]])
    losses: list[Fault] = field(default_factory=list[Fault])
    refusals: list[Fault] = field(default_factory=list[Fault])
    slow: list[Fault] = field(default_factory=list[Fault])

    @property
    def failed(self) -> int:
        """Number of attempts that failed."""
        return sum(len(each) for each in self.failures.values())

    def on(self, devices: Iterable[str]) -> tuple[Fault, ...]:
        """Return the losses, refusals and slow spells of some devices."""
        known = set(devices)
        return tuple([f for f in (*self.losses, *self.refusals, *self.slow) if f.device in known])


def mishaps(records: Iterable[Record]) -> Mishaps:
    """Return what went wrong in a run."""
    reader = _Reader()
    for record in records:
        for event in record.events:
            reader.event(event, record.at_s)
        for command in record.commands:
            reader.command(command)
    reader.restart()
    return reader.found


class _Reader:
    """What is running, and which item of it is next; which devices are away, since when."""

    def __init__(self) -> None:
        self.found = Mishaps()
        self.working: dict[ActivityId, tuple[Chunk, int]] = {}
        self._loads: dict[str, int] = {}
        self._loading: dict[ActivityId, tuple[str, int]] = {}
        self._away: dict[str, tuple[float, bool]] = {}
        self._now_s = 0.0

    def command(self, command: LoggedCommand) -> None:
        """Take note of what begins."""
        if isinstance(command, Call | RunTool):
            self.working[command.activity] = command.chunk, command.chunk.start
        elif isinstance(command, Load):
            number = self._loads[command.device] = self._loads.get(command.device, 0) + 1
            self._loading[command.activity] = command.device, number

    def event(self, event: Event, now_s: float) -> None:
        """Take note of what happened."""
        match event:
            case ItemDone(activity=activity, item=item) if activity in self.working:
                self.working[activity] = self.working[activity][0], item + 1
            case Failed(activity=activity) if activity in self.working:
                chunk, item = self.working.pop(activity)
                if item < chunk.stop:
                    self.found.failures.setdefault((chunk.instance, item), []).append(event)
            case Failed(activity=activity) if activity in self._loading:
                device, number = self._loading.pop(activity)
                refusal = Fault(kind="refuse_load", device=device, activity="load", count=number)
                self.found.refusals.append(refusal)
            case DeviceLost(device=device, final=final):
                since_s, _ = self._away.get(device, (now_s, False))
                self._away[device] = since_s, final
            case DeviceReady(device=device):
                self._back(device, now_s)
            case Resumed():
                self.restart()
            case _:
                pass
        self._now_s = now_s

    def restart(self) -> None:
        """The process ended: devices that were away then are not told of any more."""
        for device in list(self._away):
            self._back(device, self._now_s)
        self.working.clear()

    def _back(self, device: str, now_s: float) -> None:
        away = self._away.pop(device, None)
        if away is not None:
            since_s, final = away
            for_s = float("inf") if final else now_s - since_s
            loss = Fault(kind="kill", device=device, at_s=since_s, for_s=for_s)
            self.found.losses.append(loss)
