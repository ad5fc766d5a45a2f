"""Spells in which a device of a run was slow: since when, how long, how many times as slow.

A run's core drains a device that is too slow and tries it with one call later on. Slow it is taken
to be from the beginning of the work that gave it away to that of the first trial that went well, or
until it was lost; where neither came, to the end of all time.
"""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from fate.core.health import SLOW_ITEMS
from fate.cost.profile import Profile
from fate.cost.terms import decode_seconds, prefill_seconds
from fate.domain.faults import Fault
from fate.domain.graph import InstanceId
from fate.domain.messages import (
    ActivityId,
    Call,
    Cancelled,
    DeviceLost,
    Done,
    Drained,
    Event,
    Failed,
    ItemDone,
    Load,
    Readmitted,
    Record,
    Resumed,
)

_INF = float("inf")


@dataclass(slots=True)
class Spell:
    """A device was slow from `begin_s` to `until_s`."""

    device: str
    begin_s: float
    until_s: float = _INF


class _Work(NamedTuple):
    """A load, or one item of a call; `said` is None where it was cut off."""

    command: Call | Load
    item: int
    begin_s: float
    end_s: float
    said: ItemDone | Done | None


def slow_spells(records: Iterable[Record]) -> list[Spell]:
    """Return the spells in which devices were slow, by the time they were found out."""
    return _read(records).spells


def during(found: Sequence[Spell], device: str, begin_s: float, end_s: float) -> bool:
    """Whether a device was slow at some time between two."""
    return any(s.device == device and s.begin_s < end_s and begin_s < s.until_s for s in found)


def slow_faults(records: Sequence[Record], truth: Profile) -> list[Fault]:
    """Return the slow spells of a run as faults; each with the factor that its work shows.

    Work that was finished shows it by what it took. Where none was, what was cut off shows how
    slow the device was at least: its item was finished elsewhere.

    Args:
        records: the run's journal.
        truth: what work costs where a device is not slow.
    """
    reader, faults = _read(records), list[Fault]()
    known = {
        (work.command.chunk.instance, work.item): work.said
        for work in reader.work
        if isinstance(work.command, Call) and isinstance(work.said, ItemDone)
    }
    for spell in reader.spells:
        inside = [
            work
            for work in reader.work
            if work.command.device == spell.device
            if spell.begin_s <= work.begin_s and work.end_s <= spell.until_s
        ]
        factor = _factor([w for w in inside if w.said is not None], _finished, known, truth)
        if factor <= 1.0:
            factor = _factor([w for w in inside if w.said is None], _cut_off, known, truth)
        if factor > 1.0:
            for_s = spell.until_s - spell.begin_s
            faults.append(
                Fault(kind="slow", device=spell.device, at_s=spell.begin_s, for_s=for_s,
                      factor=factor)
            )  # fmt: skip
    return faults


_Known = dict[tuple[InstanceId, int], ItemDone]
_Took = Callable[[_Work, _Known, Profile], tuple[float, float]]


def _factor(work: Sequence[_Work], took: _Took, known: _Known, truth: Profile) -> float:
    """Return by how much work was longer than it should have been; 1 where nothing tells."""
    pairs = [took(each, known, truth) for each in work]
    should_s = sum(expected for _, expected in pairs)
    return sum(measured for measured, _ in pairs) / should_s if should_s > 0 else 1.0


def _finished(work: _Work, _known: _Known, truth: Profile) -> tuple[float, float]:
    """Return the seconds that finished work took, and those it should have taken."""
    costs = truth.costs[work.command.device][work.command.model]
    if isinstance(work.said, ItemDone):
        return work.said.prefill_s + work.said.decode_s, _item_s(work, work.said, truth)
    return work.said.seconds if work.said is not None else 0.0, costs.load_s


def _cut_off(work: _Work, known: _Known, truth: Profile) -> tuple[float, float]:
    """Return for how long work had gone on, and the seconds it should have taken, if known."""
    took_s = work.end_s - work.begin_s
    if isinstance(work.command, Load):
        return took_s, truth.costs[work.command.device][work.command.model].load_s
    said = known.get((work.command.chunk.instance, work.item))
    return (0.0, 0.0) if said is None else (took_s, _item_s(work, said, truth))


def _item_s(work: _Work, said: ItemDone, truth: Profile) -> float:
    """Return the seconds an item takes alone on the device of a piece of work."""
    costs = truth.costs[work.command.device][work.command.model]
    new, cached = float(said.prompt_tokens - said.cached_tokens), float(said.cached_tokens)
    return prefill_seconds(new, cached, *costs.prefill) + decode_seconds(
        float(said.output_tokens), float(said.prompt_tokens), *costs.decode
    )


def _read(records: Iterable[Record]) -> "_Reader":
    reader = _Reader()
    for record in records:
        reader.finished.clear()
        for event in record.events:
            reader.event(event, record.at_s)
        for command in record.commands:
            match command:
                case Call() | Load():
                    item = command.chunk.start if isinstance(command, Call) else 0
                    reader.under_way[command.activity] = command, item, record.at_s
                case Drained() if command.reason.startswith("slow: "):
                    reader.drained(command.device)
                case Readmitted():
                    reader.end(command.device, reader.finished.get(command.device, record.at_s))
                case _:
                    pass
        reader.now_s = record.at_s
    return reader


@dataclass(slots=True)
class _Reader:
    """What is under way since when, what was done last on each device, and which ones are slow.

    `finished` has the devices that finished something in this record, and when they had begun it.
    """

    spells: list[Spell] = field(default_factory=list[Spell])
    work: list[_Work] = field(default_factory=list[_Work])
    under_way: dict[ActivityId, tuple[Call | Load, int, float]] = field(
        default_factory=dict[ActivityId, tuple[Call | Load, int, float]]
    )
    finished: dict[str, float] = field(default_factory=dict[str, float])
    now_s: float = 0.0
    _slow: dict[str, Spell] = field(default_factory=dict[str, Spell])
    _last: dict[str, deque[float]] = field(default_factory=dict[str, deque[float]])

    def event(self, event: Event, now_s: float) -> None:
        """Take note of what ended."""
        match event:
            case ItemDone(activity=activity) if activity in self.under_way:
                self._item_done(event, now_s)
            case Done(activity=activity) if activity in self.under_way:
                command, item, begin_s = self.under_way.pop(activity)
                if isinstance(command, Load):
                    self.work.append(_Work(command, item, begin_s, now_s, event))
            case Failed(activity=activity) | Cancelled(activity=activity):
                self._cut_off(activity, now_s)
            case DeviceLost(device=device):
                self._gone(device, now_s)
            case Resumed():
                for device in [*self._slow, *self._last]:
                    self._gone(device, self.now_s)
                self.under_way.clear()
            case _:
                pass

    def drained(self, device: str) -> None:
        """A device is drained for being slow: from when on it was is what gave it away."""
        if device in self._slow:
            return
        begun = [begin_s for c, _, begin_s in self.under_way.values() if c.device == device]
        last = self._last.get(device, ())
        begin_s = min(last if device in self.finished else begun, default=self.now_s)
        self._slow[device] = Spell(device, begin_s)
        self.spells.append(self._slow[device])

    def end(self, device: str, at_s: float) -> None:
        """A device is slow no more."""
        spell = self._slow.pop(device, None)
        if spell is not None:
            spell.until_s = max(at_s, spell.begin_s)

    def _item_done(self, event: ItemDone, now_s: float) -> None:
        command, _, begin_s = self.under_way[event.activity]
        self.under_way[event.activity] = command, event.item + 1, now_s
        self.work.append(_Work(command, event.item, begin_s, now_s, event))
        self.finished[command.device] = begin_s
        self._last.setdefault(command.device, deque(maxlen=SLOW_ITEMS)).append(begin_s)

    def _cut_off(self, activity: ActivityId, now_s: float) -> None:
        found = self.under_way.pop(activity, None)
        if found is not None:
            self.work.append(_Work(*found, now_s, None))

    def _gone(self, device: str, now_s: float) -> None:
        """A device is another one from now on."""
        self.end(device, now_s)
        self._last.pop(device, None)
