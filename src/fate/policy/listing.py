"""List scheduling of ready chunks: rank x measure x binding.

Most rows of `policy/baselines` are made of these parts: chunks are taken in the order of a rank,
each goes to the device on which a measure is lowest, the lower index among equals, and a binding
says which devices may be asked and whether the answer is final.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from typing import Literal, TypeAlias

from fate.domain.plan import Memo, Plan, Search
from fate.domain.snapshot import Snapshot
from fate.policy.base import Lookahead
from fate.policy.kernel.problem import Plain, Weights, plain
from fate.policy.kernel.reference import Orders, work_seconds
from fate.policy.measures import Measure, Opens, Score

#: immediate: any device, as soon as a chunk is ready, for good. idle: a free slot, now. late: any
#: device, busy or not, thought over again with every plan until the chunk starts.
Binding: TypeAlias = Literal["immediate", "idle", "late"]
#: Returns the frontier's node indices in the order in which they are placed.
Rank: TypeAlias = Callable[[Plain], list[int]]


def arrival(p: Plain) -> list[int]:
    """Rank by arrival: the frontier's own order."""
    return list(range(p.frontier))


def shortest(p: Plain) -> list[int]:
    """Rank by seconds of compute on the quickest device that may run the chunk, shortest first."""
    hosts = range(p.devices)
    own_s = [
        min([work_seconds(p, n, d, 0.0) for d in hosts if p.eligible[n][d]], default=inf)
        for n in range(p.frontier)
    ]
    return sorted(range(p.frontier), key=lambda node: (own_s[node], node))


@dataclass(frozen=True, slots=True, kw_only=True)
class ListPolicy:
    """A list scheduler as a table row; `fate.policy.base.Policy` says what it promises."""

    name: str
    rank: Rank
    measure: Opens
    binding: Binding

    @property
    def eager(self) -> bool:
        """Immediate binding happens when work arrives, whether or not a device is idle."""
        return self.binding == "immediate"

    @property
    def lookahead(self) -> Lookahead:
        """Rules know only queues."""
        return "none"

    @property
    def inline(self) -> bool:
        """A handful of comparisons per chunk."""
        return True

    def plan(self, snapshot: Snapshot, memo: Memo | None) -> Plan:
        """Keep what is bound, then place the other chunks in rank order."""
        cursor = memo.cursor if memo else 0
        kept = bound(snapshot, memo) if self.binding == "immediate" else None
        if kept is not None and sum(map(len, kept)) == snapshot.frontier:
            return self._finish(snapshot, kept, cursor)
        p = plain(snapshot, Weights(depth=0), lookahead=False)
        measure = self.measure(snapshot, p, cursor)
        orders = kept or [list[int]() for _ in range(p.devices)]
        place_again(orders, measure)
        self._place(p, measure, orders)
        return self._finish(snapshot, orders, measure.cursor)

    def _place(self, p: Plain, measure: Measure, orders: Orders) -> None:
        """Add every chunk that is in no list yet to one, if a device can take it."""
        room = [inf] * p.devices
        if self.binding == "idle":
            room = [float(sum(at_s <= p.now_s for at_s in slots)) for slots in p.free_at_s]
        placed = {node for order in orders for node in order}
        usable = [d for d in range(p.devices) if min(p.free_at_s[d]) < inf]
        for node in self.rank(p):
            hosts = [d for d in usable if room[d] > 0 and p.eligible[node][d]]
            if node in placed or not hosts:
                continue
            device = lowest(hosts, measure.scores(node, hosts))
            measure.place(node, device)
            orders[device].append(node)
            room[device] -= 1

    def _finish(self, snapshot: Snapshot, orders: Orders, cursor: int) -> Plan:
        named = tuple(tuple(snapshot.chunks[node] for node in order) for order in orders)
        return Plan(
            policy=self.name,
            orders=named,
            memo=Memo(orders=named if self.binding == "immediate" else (), cursor=cursor),
            search=Search(base=self.name),
        )


def lowest(hosts: list[int], scores: list[Score]) -> int:
    """Return the host with the lowest score, the lower index among equals."""
    return min(zip(scores, hosts, strict=True))[1]


def bound(snapshot: Snapshot, memo: Memo | None) -> Orders:
    """Return the lists of the last plan without what has started and what must move."""
    left = {chunk: node for node, chunk in enumerate(snapshot.chunks)}
    orders = [list[int]() for _ in range(snapshot.devices)]
    if memo is None or not left:
        return orders
    usable = (snapshot.free_at_s < inf).any(axis=1)
    may_run = (snapshot.eligible * usable).tolist()
    for device, order in enumerate(memo.orders[: snapshot.devices]):
        for chunk in order:
            if chunk in left and may_run[left[chunk]][device]:
                orders[device].append(left.pop(chunk))
    return orders


def place_again(orders: Orders, measure: Measure) -> None:
    """Let a measure count what is bound already, without giving anyone an extra turn."""
    cursor = measure.cursor
    for device, order in enumerate(orders):
        for node in order:
            measure.place(node, device)
    measure.cursor = cursor
