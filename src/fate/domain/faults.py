"""Faults on purpose: what goes wrong with which device, when, and for how long.

A plan is one value for the simulator and the runtime. `Schedule` says what holds at a time; both
count activities and stretch durations with it, so that they meet the same faults at the same
instants.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

FaultKind: TypeAlias = Literal["kill", "stop", "slow", "refuse_load", "corrupt", "disk_full"]
Trigger: TypeAlias = Literal["load", "unload", "move", "warm", "call"]

_INF = float("inf")
#: How long a fault lasts where the plan does not say [s]: until a killed device can be restarted,
#: for the activity that sets it off where one is meant, else to the end.
_DOWN_S = 1.0
_AT_ONCE: frozenset[FaultKind] = frozenset({"refuse_load", "corrupt"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One fault: at `at_s`, or when the `count`-th activity of a kind begins on the device.

    Attributes:
        kind: `kill` ends the device's process, `stop` makes it stand still, `slow` makes it take
            `factor` times as long, `refuse_load` and `corrupt` fail loads and answers that begin
            meanwhile, `disk_full` fails storing outputs of any device.
        device: where; of `disk_full`, which is the host's, only where its activity begins.
        for_s: how long; None is the kind's own.
    """

    kind: FaultKind
    device: str = ""
    at_s: float | None = None
    activity: Trigger | None = None
    count: int = 1
    for_s: float | None = None
    factor: float = 10.0

    def lasts_s(self) -> float:
        """Return how long it lasts [s]."""
        if self.for_s is not None:
            return self.for_s
        return _DOWN_S if self.kind == "kill" else _INF

    @property
    def once(self) -> bool:
        """Whether it is meant for the one activity that sets it off."""
        return self.for_s is None and self.activity is not None and self.kind in _AT_ONCE


@dataclass(slots=True)
class Window:
    """A fault that holds from `begin_s` to `until_s`, both included; `once`: for one activity."""

    kind: FaultKind
    begin_s: float
    until_s: float
    factor: float = 1.0
    once: bool = False


@dataclass(slots=True)
class Schedule:
    """The faults of one run: those whose time is known, and those that activities set off."""

    faults: Sequence[Fault]
    windows: dict[str, list[Window]] = field(default_factory=dict[str, list[Window]])
    _seen: dict[tuple[str, str], int] = field(default_factory=dict[tuple[str, str], int])

    def __post_init__(self) -> None:
        """Enter what has a time."""
        for fault in self.faults:
            if fault.at_s is not None:
                self._enter(fault, fault.at_s)

    def begins(self, device: str, activity: str, now_s: float) -> list[Window]:
        """Count an activity that begins; return the faults it sets off."""
        seen = self._seen[device, activity] = self._seen.get((device, activity), 0) + 1
        return [
            self._enter(fault, now_s)
            for fault in self.faults
            if (fault.device, fault.activity, fault.count) == (device, activity, seen)
        ]

    def holds(self, kind: FaultKind, device: str, now_s: float) -> bool:
        """Whether a fault of a kind holds for a device now."""
        windows = self.windows.get(device, ())
        return any(w.kind == kind and w.begin_s <= now_s <= w.until_s for w in windows)

    def meets(self, kind: FaultKind, device: str, now_s: float) -> bool:
        """Whether an activity that begins now meets a fault; one that is meant once is used up."""
        for window in self.windows.get(device, ()):
            if window.kind == kind and window.begin_s <= now_s <= window.until_s:
                if window.once:
                    window.until_s = -_INF
                return True
        return False

    def ends(self, kind: FaultKind, device: str, now_s: float) -> None:
        """End the faults of a kind that hold for a device now: it was replaced."""
        for window in self.windows.get(device, ()):
            if window.kind == kind and window.begin_s <= now_s:
                window.until_s = min(window.until_s, now_s)

    def stretched(self, device: str, begin_s: float, end_s: float) -> float:
        """Return when work ends that would take from `begin_s` to `end_s`; inf: never.

        Exactly `end_s` where nothing slows the device meanwhile.
        """
        left_s, at_s, touched = end_s - begin_s, begin_s, False
        for window in self._slowing(device):
            if window.until_s <= at_s:
                continue
            if window.begin_s >= at_s + left_s:
                break
            touched = True
            left_s -= max(window.begin_s - at_s, 0.0)
            at_s = max(at_s, window.begin_s)
            if left_s * window.factor <= window.until_s - at_s:
                return at_s + left_s * window.factor
            left_s -= (window.until_s - at_s) / window.factor
            at_s = window.until_s
        return at_s + left_s if touched else end_s

    def _slowing(self, device: str) -> list[Window]:
        found = [w for w in self.windows.get(device, ()) if w.kind in ("stop", "slow")]
        return sorted(found, key=lambda window: window.begin_s)

    def _enter(self, fault: Fault, now_s: float) -> Window:
        factor = _INF if fault.kind == "stop" else fault.factor
        window = Window(fault.kind, now_s, now_s + fault.lasts_s(), factor, fault.once)
        where = "" if fault.kind == "disk_full" else fault.device
        self.windows.setdefault(where, []).append(window)
        return window


def refusal(device: str) -> str:
    """Return the reason of a load that is refused on purpose."""
    return f"device {device!r}: the load is refused, says the fault plan"


def loss(device: str) -> str:
    """Return the reason why a killed device is lost."""
    return f"device {device!r} is lost"


#: The reason of an item whose output cannot be stored.
DISK_FULL = "the output cannot be stored: the disk is full, says the fault plan"


def times_longer(begin_s: float, end_s: float, late_s: float) -> float:
    """Return how many times as long as it should something took that ended late."""
    return (late_s - begin_s) / (end_s - begin_s) if late_s != end_s and end_s > begin_s else 1.0
