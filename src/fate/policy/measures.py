"""What a list scheduler minimises when it chooses a device: the measures of `listing`."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from math import inf
from typing import Protocol, TypeAlias

import numpy as np

from fate.domain.snapshot import Snapshot
from fate.policy.kernel.problem import Plain
from fate.policy.kernel.reference import appraise, commit, find_sequence, work_seconds
from fate.policy.kernel.reference_state import Placement, benches

#: Compared from the left; lower is better. What still ties goes to the lower device index.
Score: TypeAlias = tuple[float, ...]


class Measure(Protocol):
    """What a rule minimises. `cursor` is the next device in turn, kept between plans."""

    cursor: int

    def scores(self, node: int, hosts: list[int]) -> list[Score]:
        """Return, for each host, the value of putting a chunk last on its list."""
        ...

    def place(self, node: int, device: int) -> None:
        """Take note that a chunk is now last on a device's list."""
        ...


#: Opens a measure on a problem; the last argument is the cursor of the last plan.
Opens: TypeAlias = Callable[[Snapshot, Plain, int], Measure]


class Turn:
    """How many devices stand before this one in the round."""

    def __init__(self, snapshot: Snapshot, p: Plain, cursor: int) -> None:
        del snapshot
        self.cursor = cursor
        self._devices = p.devices

    def scores(self, node: int, hosts: list[int]) -> list[Score]:
        """Return the distance from the cursor."""
        del node
        return [(float((device - self.cursor) % self._devices),) for device in hosts]

    def place(self, node: int, device: int) -> None:
        """Move the cursor behind the device."""
        del node
        self.cursor = (device + 1) % self._devices


class Draw:
    """A random number, from a generator seeded with the run and the plan."""

    def __init__(self, snapshot: Snapshot, p: Plain, cursor: int) -> None:
        del p
        self.cursor = cursor
        self._draw = np.random.default_rng(snapshot.seed)

    def scores(self, node: int, hosts: list[int]) -> list[Score]:
        """Return a number for each host, all equally likely to be the lowest."""
        del node
        return [(value,) for value in self._draw.random(len(hosts)).tolist()]

    def place(self, node: int, device: int) -> None:
        """Nothing to remember."""


class Finish:
    """When the chunk ends [s], by compute and transfer alone.

    Slots are servers of one queue. Loads and prefix hits are not seen, nor is the slowdown by
    concurrent calls: all of them depend on the execution state.
    """

    def __init__(self, snapshot: Snapshot, p: Plain, cursor: int) -> None:
        del snapshot
        self.cursor = cursor
        self._p = p
        self._free_at_s = [[max(at_s, p.now_s) for at_s in slots] for slots in p.free_at_s]

    def end_s(self, node: int, device: int) -> float:
        """Return the finish time."""
        p = self._p
        if not p.eligible[node][device]:
            return inf
        gather_s = p.transfer_s[node][device]
        return min(self._free_at_s[device]) + gather_s + work_seconds(p, node, device, 0.0)

    def scores(self, node: int, hosts: list[int]) -> list[Score]:
        """Return the finish times."""
        return [(self.end_s(node, device),) for device in hosts]

    def place(self, node: int, device: int) -> None:
        """Occupy the slot that is free first."""
        end_s, slots = self.end_s(node, device), self._free_at_s[device]
        slots[slots.index(min(slots))] = end_s


class StateFinish:
    """When the chunk ends [s] under the state the lists leave behind: loads, evictions, hits."""

    def __init__(self, snapshot: Snapshot, p: Plain, cursor: int) -> None:
        del snapshot
        self.cursor = cursor
        self._p, self._state = p, benches(p)

    def _appraise(self, node: int, device: int) -> Placement | None:
        return appraise(self._p, self._state[device], device, node)

    def end_s(self, node: int, device: int) -> float:
        """Return the finish time; inf where the chunk cannot run."""
        placed = self._appraise(node, device)
        return inf if placed is None else placed.finish_s

    def scores(self, node: int, hosts: list[int]) -> list[Score]:
        """Return the finish times."""
        return [(self.end_s(node, device),) for device in hosts]

    def place(self, node: int, device: int) -> None:
        """Change the device's state to what it is once the chunk has run."""
        placed = self._appraise(node, device)
        if placed is not None:
            commit(self._p, self._state[device], node, placed)


class Outstanding:
    """Seconds of work that a device has before it: what runs, and what is bound to it."""

    def __init__(self, snapshot: Snapshot, p: Plain, cursor: int) -> None:
        del snapshot
        self.cursor = cursor
        self._p = p
        self.seconds = [
            sum(max(at_s - p.now_s, 0.0) for at_s in slots if at_s < inf) for slots in p.free_at_s
        ]

    def scores(self, node: int, hosts: list[int]) -> list[Score]:
        """Return the seconds before the chunk is added."""
        del node
        return [(self.seconds[device],) for device in hosts]

    def place(self, node: int, device: int) -> None:
        """Add the chunk's compute."""
        self.seconds[device] += work_seconds(self._p, node, device, 0.0)


class Bounded(ABC):
    """What a call is drawn to, among devices whose load is bounded; the less loaded among equals.

    A device takes a call while its outstanding seconds are at most `cap` times the mean over the
    hosts with the call on one of them: consistent hashing with bounded loads (arXiv:1608.01350),
    where the bound on the number of balls in a bin is rounded up to a whole ball. Some host is
    always within bounds if `cap` is at least 1.
    """

    def __init__(self, snapshot: Snapshot, p: Plain, cursor: int, cap: float) -> None:
        self.cursor = cursor
        self._p, self._cap = p, cap
        self._load = Outstanding(snapshot, p, 0)

    @abstractmethod
    def cost(self, node: int, device: int) -> Score:
        """Return what is minimised among the devices within bounds."""

    def scores(self, node: int, hosts: list[int]) -> list[Score]:
        """Return (0, cost, seconds of load) within bounds, (1, seconds of load) outside."""
        loads = [self._load.seconds[device] for device in hosts]
        own_s = min([work_seconds(self._p, node, device, 0.0) for device in hosts])
        bound_s = self._cap * (sum(loads) + own_s) / len(hosts)
        return [
            (0.0, *self.cost(node, device), load_s) if load_s <= bound_s else (1.0, load_s)
            for device, load_s in zip(hosts, loads, strict=True)
        ]

    def place(self, node: int, device: int) -> None:
        """Add the chunk's compute."""
        self._load.place(node, device)


class Locality(Bounded):
    """Seconds to gather what the call's parents have put out, then how many of them ran there."""

    def __init__(self, snapshot: Snapshot, p: Plain, cursor: int, cap: float) -> None:
        super().__init__(snapshot, p, cursor, cap)
        self._parents_on: list[list[int]] = snapshot.parents_on.tolist()

    def cost(self, node: int, device: int) -> Score:
        """Return the seconds of transfer, and minus the parents' items."""
        return self._p.transfer_s[node][device], -float(self._parents_on[node][device])


class Prefix(Bounded):
    """Leading tokens of the prompt that the device has cached, or will have by then."""

    def __init__(self, snapshot: Snapshot, p: Plain, cursor: int, cap: float) -> None:
        super().__init__(snapshot, p, cursor, cap)
        self._state = benches(p)

    def cost(self, node: int, device: int) -> Score:
        """Return minus the cached tokens."""
        seat = find_sequence(self._p, self._state[device], device, node)
        return (-max(seat.cached, seat.copied),)

    def place(self, node: int, device: int) -> None:
        """Add the compute, and what the chunk leaves in the cache."""
        super().place(node, device)
        placed = appraise(self._p, self._state[device], device, node)
        if placed is not None:
            commit(self._p, self._state[device], node, placed)


class Loaded:
    """Whether the model has to be loaded."""

    def __init__(self, snapshot: Snapshot, p: Plain, cursor: int) -> None:
        del snapshot
        self.cursor = cursor
        self._model, self._resident = p.model, [list(row) for row in p.resident]

    def scores(self, node: int, hosts: list[int]) -> list[Score]:
        """Return 0 where the model is loaded, 1 elsewhere."""
        return [(1.0 - self._resident[device][self._model[node]],) for device in hosts]

    def place(self, node: int, device: int) -> None:
        """The model is there from now on."""
        self._resident[device][self._model[node]] = 1
