"""List scheduling without knowledge of the execution state: rank x measure x binding.

The rows of `policy/baselines` that bind a chunk early, or look at queues only, are made of these
parts: chunks are taken in the order of a rank, each goes to the device on which a measure is
lowest, the lower index among equals, and a binding says which devices may be asked and whether
the answer is final.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from typing import Literal, Protocol, TypeAlias

from fate.domain.plan import Memo, Plan, Search
from fate.domain.snapshot import Snapshot
from fate.policy.kernel.problem import Plain, Weights, plain
from fate.policy.kernel.reference import Orders, work_seconds

#: immediate: any device, as soon as a chunk is ready, for good. idle: a free slot, now.
Binding: TypeAlias = Literal["immediate", "idle"]
#: Returns the frontier's node indices in the order in which they are placed.
Rank: TypeAlias = Callable[[Plain], list[int]]


class Measure(Protocol):
    """What a rule minimises. `cursor` is the next device in turn, kept between plans."""

    cursor: int

    def score(self, node: int, device: int) -> float:
        """Return the value of putting a chunk last on a device's list."""
        ...

    def place(self, node: int, device: int) -> None:
        """Take note that a chunk is now last on a device's list."""
        ...


class Turn:
    """How many devices stand before this one in the round."""

    def __init__(self, p: Plain, cursor: int) -> None:
        self.cursor = cursor
        self._devices = p.devices

    def score(self, node: int, device: int) -> float:
        """Return the distance from the cursor."""
        del node
        return float((device - self.cursor) % self._devices)

    def place(self, node: int, device: int) -> None:
        """Move the cursor behind the device."""
        del node
        self.cursor = (device + 1) % self._devices


class Finish:
    """When the chunk ends [s], by compute and transfer alone.

    Slots are servers of one queue. Loads and prefix hits are not seen, nor is the slowdown by
    concurrent calls: all of them depend on the execution state.
    """

    def __init__(self, p: Plain, cursor: int) -> None:
        self.cursor = cursor
        self._p = p
        self._free_at_s = [[max(at_s, p.now_s) for at_s in slots] for slots in p.free_at_s]

    def score(self, node: int, device: int) -> float:
        """Return the finish time."""
        gather_s = self._p.transfer_s[node][device]
        return min(self._free_at_s[device]) + gather_s + work_seconds(self._p, node, device, 0.0)

    def place(self, node: int, device: int) -> None:
        """Occupy the slot that is free first."""
        end_s, slots = self.score(node, device), self._free_at_s[device]
        slots[slots.index(min(slots))] = end_s


class Outstanding:
    """Seconds of work that a device has before it: what runs, and what is bound to it."""

    def __init__(self, p: Plain, cursor: int) -> None:
        self.cursor = cursor
        self._p = p
        self._seconds = [
            sum(max(at_s - p.now_s, 0.0) for at_s in slots if at_s < inf) for slots in p.free_at_s
        ]

    def score(self, node: int, device: int) -> float:
        """Return the seconds before the chunk is added."""
        del node
        return self._seconds[device]

    def place(self, node: int, device: int) -> None:
        """Add the chunk's compute."""
        self._seconds[device] += work_seconds(self._p, node, device, 0.0)


def arrival(p: Plain) -> list[int]:
    """Rank by arrival: the frontier's own order."""
    return list(range(p.frontier))


@dataclass(frozen=True, slots=True, kw_only=True)
class ListPolicy:
    """A list scheduler as a table row; `fate.policy.base.Policy` says what it promises."""

    name: str
    rank: Rank
    measure: Callable[[Plain, int], Measure]
    binding: Binding

    @property
    def eager(self) -> bool:
        """Immediate binding happens when work arrives, whether or not a device is idle."""
        return self.binding == "immediate"

    @property
    def inline(self) -> bool:
        """A handful of comparisons per chunk."""
        return True

    def plan(self, snapshot: Snapshot, memo: Memo | None) -> Plan:
        """Keep what is bound, then place the other chunks in rank order."""
        p = plain(snapshot, Weights(depth=0), lookahead=False)
        measure = self.measure(p, memo.cursor if memo else 0)
        room = [float("inf")] * p.devices
        if self.binding == "idle":
            room = [float(sum(at_s <= p.now_s for at_s in slots)) for slots in p.free_at_s]
            orders = [list[int]() for _ in range(p.devices)]
        else:
            orders = _bound(snapshot, p, memo)
            _place_again(orders, measure)
        placed = {node for order in orders for node in order}
        for node in self.rank(p):
            hosts = [d for d in range(p.devices) if room[d] > 0 and _can_host(p, node, d)]
            if node in placed or not hosts:
                continue
            device = min(hosts, key=lambda d: (measure.score(node, d), d))
            measure.place(node, device)
            orders[device].append(node)
            room[device] -= 1
        named = tuple(tuple(snapshot.chunks[node] for node in order) for order in orders)
        kept = named if self.binding == "immediate" else ()
        return Plan(
            policy=self.name,
            orders=named,
            memo=Memo(orders=kept, cursor=measure.cursor),
            search=Search(base=self.name),
        )


def _can_host(p: Plain, node: int, device: int) -> bool:
    return bool(p.eligible[node][device]) and min(p.free_at_s[device]) < inf


def _bound(snapshot: Snapshot, p: Plain, memo: Memo | None) -> Orders:
    """Return the lists of the last plan without what has started and what must move."""
    left = {chunk: node for node, chunk in enumerate(snapshot.chunks)}
    orders = [list[int]() for _ in range(p.devices)]
    for device, order in enumerate(memo.orders[: p.devices] if memo else ()):
        for chunk in order:
            if chunk in left and _can_host(p, left[chunk], device):
                orders[device].append(left.pop(chunk))
    return orders


def _place_again(orders: Orders, measure: Measure) -> None:
    """Let a measure count what is bound already, without giving anyone an extra turn."""
    cursor = measure.cursor
    for device, order in enumerate(orders):
        for node in order:
            measure.place(node, device)
    measure.cursor = cursor
