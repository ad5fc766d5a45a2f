"""Where a simulated run's busy time went, from its decision log."""

from collections import defaultdict
from dataclasses import dataclass, field

import msgspec

from fate.bench.case import Case
from fate.domain import messages as m
from fate.domain.graph import ITEM, InstanceId, Path, path_tokens
from fate.drivers.setup import Outcome

#: What keys of segments begin with that no other stage can have in its prompt at the same place:
#: a stage's own words, what others answered, a map's item.
PRIVATE = ("own:", "text:", "out:", ITEM)


class Uses(msgspec.Struct, frozen=True, kw_only=True):
    """Device-seconds of a run by use, and bytes of outputs that crossed links.

    `prefix_s` is the prefill of tokens that stages may share, `own_s` that of all others.
    """

    load_s: float = 0.0
    unload_s: float = 0.0
    transfer_s: float = 0.0
    prefix_s: float = 0.0
    own_s: float = 0.0
    decode_s: float = 0.0
    tool_s: float = 0.0
    fetched_bytes: int = 0

    @property
    def busy_s(self) -> float:
        """Seconds in which devices were busy."""
        return (
            self.load_s
            + self.unload_s
            + self.transfer_s
            + self.prefix_s
            + self.own_s
            + self.decode_s
        )


def uses(case: Case, outcome: Outcome) -> Uses:
    """Return how the devices' time was used."""
    meter = _Meter(case)
    for record in outcome.records:
        for event in record.events:
            meter.event(event, record.at_s)
        for command in record.commands:
            meter.command(command, record.at_s)
    seconds = {f"{name}_s": meter.seconds[name] for name in sorted(meter.seconds)}
    return Uses(**seconds, fetched_bytes=meter.fetched_bytes)


@dataclass(slots=True)
class _Meter:
    """Adds up what records say; `marks` is when the current item of a call began."""

    case: Case
    seconds: dict[str, float] = field(default_factory=lambda: defaultdict[str, float](float))
    fetched_bytes: int = 0
    _running: dict[m.ActivityId, m.Activity] = field(default_factory=dict[m.ActivityId, m.Activity])
    _marks: dict[m.ActivityId, float] = field(default_factory=dict[m.ActivityId, float])
    _prompts: dict[InstanceId, m.Expanded] = field(default_factory=dict[InstanceId, m.Expanded])
    _parents: dict[InstanceId, tuple[InstanceId, ...]] = field(init=False)
    _bytes: dict[InstanceId, int] = field(init=False)
    _lies: dict[InstanceId, dict[str, int]] = field(
        default_factory=dict[InstanceId, dict[str, int]]
    )

    def __post_init__(self) -> None:
        """Read what the graphs say of stages that are in no group."""
        self._parents, self._bytes = {}, {}
        for _, graph in self.case.arrivals:
            for stage in graph.stages:
                name = graph.instance(stage.id)
                self._bytes[name] = stage.output_bytes
                self._parents[name] = tuple([graph.instance(parent) for parent in stage.parents])

    def event(self, event: m.Event, at_s: float) -> None:
        """Take in what happened."""
        match event:
            case m.Expanded():
                self._prompts[event.instance] = event
            case m.ItemDone():
                self._item(event, at_s)
            case m.Done() if event.activity in self._running:
                self._done(self._running.pop(event.activity), event, at_s)
            case _:
                pass

    def command(self, command: m.LoggedCommand, at_s: float) -> None:
        """Take in what was asked for."""
        if isinstance(command, m.Activity):
            self._running[command.activity] = command
            self._marks[command.activity] = at_s
        if isinstance(command, m.Call):
            self._fetch(command)

    def _item(self, event: m.ItemDone, at_s: float) -> None:
        call = self._running.get(event.activity)
        if not isinstance(call, m.Call):
            return
        computed = event.prompt_tokens - event.cached_tokens
        missed = max(_shared(self._prompt(call, event.item)) - event.cached_tokens, 0)
        prefix_s = event.prefill_s * missed / computed if computed else 0.0
        elapsed_s = at_s - self._marks[event.activity]
        self.seconds["prefix"] += prefix_s
        self.seconds["own"] += event.prefill_s - prefix_s
        self.seconds["decode"] += event.decode_s
        self.seconds["transfer"] += max(elapsed_s - event.prefill_s - event.decode_s, 0.0)
        self._marks[event.activity] = at_s
        places = self._lies.setdefault(call.chunk.instance, {})
        size = self._bytes.get(call.chunk.instance, 0)
        places[call.device] = places.get(call.device, 0) + size

    def _done(self, command: m.Activity, event: m.Done, at_s: float) -> None:
        match command:
            case m.Load():
                self.seconds["load"] += event.seconds
            case m.Unload():
                self.seconds["unload"] += event.seconds
            case m.Move():
                self.seconds["transfer"] += event.seconds
                self.fetched_bytes += event.moved_bytes
            case m.RunTool():
                self.seconds["tool"] += at_s - self._marks[event.activity]
            case _:
                pass

    def _fetch(self, call: m.Call) -> None:
        """Count what a call's parents left on other devices."""
        for parent in self._parents.get(call.chunk.instance, ()):
            for place, size in self._lies.get(parent, {}).items():
                self.fetched_bytes += size if place != call.device else 0

    def _prompt(self, call: m.Call, item: int) -> Path:
        expanded = self._prompts[call.chunk.instance]
        return (*expanded.head, *expanded.tails[item])


def _shared(prompt: Path) -> int:
    """Return the tokens that other stages may begin with too."""
    for i, segment in enumerate(prompt):
        if segment.key.startswith(PRIVATE):
            return path_tokens(prompt[:i])
    return path_tokens(prompt)
