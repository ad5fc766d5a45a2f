"""Schedules made elsewhere, played through the core: what they are worth is what they simulate to.

A schedule from a solver or from a search is not trusted: the core runs it like any policy's, with
all its rules, and the simulator says how long it takes.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from fate.domain.graph import Chunk
from fate.domain.plan import Memo, Plan, Search
from fate.domain.snapshot import Snapshot
from fate.policy.base import Lookahead


@dataclass(frozen=True, slots=True)
class PlayedOrders:
    """Every device runs its list in order and waits for what is next, if that is not ready yet.

    The memo has what is left of each list. Where nothing runs and every device waits, the core's
    proof of progress starts something, out of order: lists that wait for each other in a circle
    end, and so does waiting for what becomes ready at the very end of the last call that ran.
    """

    orders: tuple[tuple[Chunk, ...], ...]
    lookahead: Lookahead = "near"

    name = "played-orders"
    eager = True  # the whole frontier is in view
    inline = True

    def plan(self, snapshot: Snapshot, memo: Memo | None) -> Plan:
        """Give each free slot what is next on its device's list, once it is ready."""
        ready = set(snapshot.chunks)
        started = list[tuple[Chunk, ...]]()
        left = list[tuple[Chunk, ...]]()
        free = (snapshot.free_at_s <= snapshot.now_s).sum(axis=1).tolist()
        for order, slots in zip(self._left(ready, memo), free, strict=True):
            heads = 0
            while heads < min(slots, len(order)) and order[heads] in ready:
                heads += 1
            started.append(order[:heads])
            left.append(order[heads:])
        return Plan(
            policy=self.name,
            orders=tuple(started),
            memo=Memo(orders=(*left, *started)),
            search=Search(base=self.name),
        )

    def _left(self, ready: set[Chunk], memo: Memo | None) -> list[tuple[Chunk, ...]]:
        """Return what is left of every list; what was to start and did not stands in front."""
        if memo is None:
            return list(self.orders)
        devices = len(self.orders)
        return [
            (*[chunk for chunk in given if chunk in ready], *rest)
            for rest, given in zip(memo.orders[:devices], memo.orders[devices:], strict=True)
        ]


@dataclass(frozen=True, slots=True)
class PlayedPriorities:
    """Every chunk has its device; an idle device takes the ready one of highest priority.

    `place` has the device and the priority of each chunk, by what it is called (as in
    `Snapshot.node_names`); equals go in order of arrival.
    """

    place: Mapping[str, tuple[int, float]]
    lookahead: Lookahead = "near"

    name = "played-priorities"
    eager = True  # the whole frontier is in view
    inline = True

    def plan(self, snapshot: Snapshot, memo: Memo | None) -> Plan:
        """List what is ready for every device, busy ones too."""
        del memo
        orders = [list[tuple[float, int]]() for _ in range(snapshot.devices)]
        for row, chunk in enumerate(snapshot.chunks):
            device, priority = self.place[str(chunk)]
            orders[device].append((-priority, row))
        return Plan(
            policy=self.name,
            orders=tuple(
                tuple(snapshot.chunks[row] for _, row in sorted(order)) for order in orders
            ),
            search=Search(base=self.name),
        )
