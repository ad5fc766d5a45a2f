"""What stands on every device's line of time: gaps, ends, and optionally the state."""

from bisect import insort
from collections.abc import Sequence
from itertools import pairwise
from math import inf
from typing import NamedTuple, Protocol

from fate.policy.kernel.problem import Plain
from fate.policy.kernel.reference import appraise, commit
from fate.policy.kernel.reference_state import Placement, benches


class Offer(NamedTuple):
    """Where on a device a task would go; `placed` is its effect on the state at the line's end."""

    finish_s: float
    start_s: float
    slot: int
    placed: Placement | None = None


class Lines(Protocol):
    """The lines of all devices."""

    def offer(
        self, task: int, device: int, ready_s: float, gather_s: float, *, insert: bool = True
    ) -> Offer | None:
        """Return where a task would end first; None if it cannot run there.

        Args:
            task: index of the task.
            device: index of the device.
            ready_s: when it may start.
            gather_s: seconds of transfer during which it holds its slot.
            insert: whether it may go into a gap, or only behind what is there.
        """
        ...

    def take(self, task: int, device: int, offer: Offer) -> None:
        """Put a task where it was offered to go."""
        ...


class Slots:
    """Intervals taken on every slot of every device, in order of time."""

    def __init__(self, free_at_s: Sequence[Sequence[float]], now_s: float) -> None:
        self._taken = [
            [[(-inf, max(at_s, now_s))] if at_s < inf else [] for at_s in slots]
            for slots in free_at_s
        ]

    def soonest(
        self, device: int, ready_s: float, length_s: float, *, insert: bool
    ) -> tuple[float, int]:
        """Return (start, slot) of the earliest gap of a length; (inf, -1) without a slot."""
        best = (inf, -1)
        for slot, taken in enumerate(self._taken[device]):
            if taken:
                best = min(best, (_start_s(taken, ready_s, length_s, insert=insert), slot))
        return best

    def end_s(self, device: int, slot: int) -> float:
        """Return when a slot is free for good."""
        return self._taken[device][slot][-1][1]

    def take(self, device: int, slot: int, start_s: float, finish_s: float) -> None:
        """Mark an interval as taken."""
        insort(self._taken[device][slot], (start_s, finish_s))


def _start_s(
    taken: list[tuple[float, float]], ready_s: float, length_s: float, *, insert: bool
) -> float:
    if insert:
        for (_, free_s), (until_s, _) in pairwise(taken):
            start_s = max(free_s, ready_s)
            if start_s + length_s <= until_s:
                return start_s
    return max(taken[-1][1], ready_s)


class BlindLines:
    """Lines of devices without a state: a task takes its work and its gathering, wherever."""

    def __init__(
        self, work_s: list[list[float]], free_at_s: Sequence[Sequence[float]], now_s: float
    ) -> None:
        self._work_s, self._slots = work_s, Slots(free_at_s, now_s)

    def offer(
        self, task: int, device: int, ready_s: float, gather_s: float, *, insert: bool = True
    ) -> Offer | None:
        """See `Lines.offer`."""
        length_s = gather_s + self._work_s[task][device]
        start_s, slot = self._slots.soonest(device, ready_s, length_s, insert=insert)
        finish_s = start_s + length_s
        return Offer(finish_s, start_s, slot) if finish_s < inf else None

    def take(self, task: int, device: int, offer: Offer) -> None:
        """See `Lines.take`."""
        del task
        self._slots.take(device, offer.slot, offer.start_s, offer.finish_s)


class StateLines:
    """Lines of devices with models, caches and evictions.

    Behind everything else a task costs what the exact replay says. Into a gap goes only what
    finds its model loaded there, so that nobody behind it has to load anew; its whole prompt is
    charged.
    """

    def __init__(self, p: Plain, work_s: list[list[float]]) -> None:
        self._p, self._work_s = p, work_s
        self._state = benches(p)
        self._slots = Slots(p.free_at_s, p.now_s)
        #: Per device (start, what is resident from then on), in order of time.
        self._marks = [[(-inf, tuple(bench.resident))] for bench in self._state]

    def offer(
        self, task: int, device: int, ready_s: float, gather_s: float, *, insert: bool = True
    ) -> Offer | None:
        """See `Lines.offer`."""
        gap = self._gap(task, device, ready_s, gather_s) if insert else None
        bench = self._state[device]
        self._p.transfer_s[task][device] = gather_s
        bench.from_s = max(ready_s, self._p.now_s)
        placed = appraise(self._p, bench, device, task)
        if placed is None or (gap is not None and gap.finish_s <= placed.finish_s):
            return gap
        start_s = max(bench.free_at_s[placed.slot], bench.from_s)
        return Offer(placed.finish_s, start_s, placed.slot, placed)

    def _gap(self, task: int, device: int, ready_s: float, gather_s: float) -> Offer | None:
        length_s = gather_s + self._work_s[task][device]
        start_s, slot = self._slots.soonest(device, ready_s, length_s, insert=True)
        finish_s = start_s + length_s
        if not finish_s < inf or start_s >= self._slots.end_s(device, slot):
            return None
        marks, model = self._marks[device], self._p.model[task]
        first = max(k for k, (at_s, _) in enumerate(marks) if at_s <= start_s)
        if all(held[model] for at_s, held in marks[first:] if at_s < finish_s):
            return Offer(finish_s, start_s, slot)
        return None

    def take(self, task: int, device: int, offer: Offer) -> None:
        """See `Lines.take`."""
        self._slots.take(device, offer.slot, offer.start_s, offer.finish_s)
        if offer.placed is not None:
            bench = self._state[device]
            bench.from_s = offer.start_s
            commit(self._p, bench, task, offer.placed)
            insort(self._marks[device], (offer.start_s, tuple(bench.resident)))
