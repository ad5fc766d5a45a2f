"""Policies that schedule whole graphs: a rule of `dag` x state seen or not x binding.

As published, a graph is scheduled once, when it arrives: every stage gets a device and a place in
its line. Here graphs arrive over time. Whatever is visible and not bound yet forms one graph with
several components, is ranked as one, and is scheduled into the gaps and behind the ends of what
is bound already, which stays where it is.
"""

from collections import Counter
from dataclasses import dataclass
from math import inf

import numpy as np

from fate.cost.terms import decode_seconds, prefill_seconds
from fate.domain.graph import Chunk
from fate.domain.plan import Memo, Plan, Search
from fate.domain.snapshot import F64, Snapshot
from fate.policy.base import Lookahead
from fate.policy.board import Board
from fate.policy.dag import Dag, Edge, Rule, make_dag
from fate.policy.kernel.problem import Weights, plain
from fate.policy.kernel.reference import Orders
from fate.policy.lines import BlindLines, StateLines
from fate.policy.measures import Finish, StateFinish

#: A late plan looks at this many of the foremost chunks, as other policies' frontiers do.
_FOREMOST, _FOREMOST_PER_DEVICE = 32, 4


def work_table(snapshot: Snapshot) -> F64:
    """Return [N, D] seconds of compute with nothing cached; inf where a node cannot run."""
    s = snapshot
    model = s.model.astype(np.intp)
    prefill = [s.prefill[:, model, i].T for i in range(3)]
    decode = [s.decode[:, model, i].T for i in range(3)]
    first, head = s.first_tokens[:, None], s.head_tokens[:, None]
    items = s.rest_items[:, None]
    output = s.output_tokens[:, None] / (1.0 + items)
    new = s.rest_tokens[:, None] / np.maximum(items, 1.0)
    none = np.zeros_like(first)
    seconds = prefill_seconds(first, none, *prefill) + decode_seconds(output, first, *decode)
    each = prefill_seconds(new, head, *prefill) + decode_seconds(output, head + new, *decode)
    return np.where(s.eligible > 0, seconds + items * each, np.inf)


def dag_of(snapshot: Snapshot, work_s: list[list[float]]) -> Dag:
    """Return the visible stages as a graph; units of data are bytes."""
    s = snapshot
    size, ptr = s.output_bytes.tolist(), s.child_ptr.tolist()
    edges = list(zip(s.child.tolist(), s.child_after_s.tolist(), strict=True))
    children = [
        [Edge(child, size[node], after_s) for child, after_s in edges[ptr[node] : ptr[node + 1]]]
        for node in range(len(size))
    ]
    link = [[(fixed, unit) for fixed, unit in row] for row in s.link.tolist()]
    return make_dag(work_s, children, link)


@dataclass(frozen=True, slots=True, kw_only=True)
class DagPolicy:
    """Schedule every visible stage by a rule, ahead of time or when it starts.

    `state`: finish times include loads, evictions and cached prefixes. `late`: nothing is bound;
    ready chunks take their devices, busy ones too, by the rule's preference with every plan.
    """

    name: str
    rule: Rule
    state: bool = False
    late: bool = False

    @property
    def eager(self) -> bool:
        """Early binding happens when work arrives, whether or not a device is idle."""
        return not self.late

    @property
    def inline(self) -> bool:
        """A graph of a thousand stages takes a tenth of a second."""
        return False

    @property
    def lookahead(self) -> Lookahead:
        """Ranks are paths to the end."""
        return "all"

    def plan(self, snapshot: Snapshot, memo: Memo | None) -> Plan:
        """Keep what is bound and schedule the rest; or, binding late, order what is ready."""
        if self.late:
            return self._finish(snapshot, self._ready_lists(snapshot), None)
        orders = bound_nodes(snapshot, memo)
        if sum(map(len, orders)) < len(snapshot.model):
            orders = self._schedule(snapshot, orders)
        names = [tuple(_binding(snapshot, node) for node in order) for order in orders]
        return self._finish(snapshot, orders, Memo(orders=tuple(names)))

    def _schedule(self, snapshot: Snapshot, bound: Orders) -> Orders:
        """Return every node by device and start: those that are bound, and the others."""
        work_s = work_table(snapshot).tolist()
        dag = dag_of(snapshot, work_s)
        if self.state:
            lines = StateLines(plain(snapshot, Weights(depth=0)), work_s)
        else:
            lines = BlindLines(work_s, snapshot.free_at_s.tolist(), snapshot.now_s)
        released_s, gather_s = snapshot.released_at_s.tolist(), snapshot.transfer_s.tolist()
        board = Board(dag, lines, released_s, gather_s)
        board.stand(bound)
        board.fill(self.rule(dag), {n for n, d in enumerate(board.device) if d < 0})
        return board.orders()

    def _ready_lists(self, snapshot: Snapshot) -> Orders:
        """Return the foremost ready chunks by device, each where finish plus bias is lowest."""
        priority, bias = self.rule(dag_of(snapshot, work_table(snapshot).tolist()))
        p = plain(snapshot, Weights(depth=0), lookahead=False)
        measure = (StateFinish if self.state else Finish)(snapshot, p, 0)
        most = max(_FOREMOST, _FOREMOST_PER_DEVICE * p.devices)
        orders = [list[int]() for _ in range(p.devices)]
        for node in sorted(range(p.frontier), key=lambda node: (-priority[node], node))[:most]:
            ends_s = [measure.end_s(node, device) for device in range(p.devices)]
            if bias is not None:
                ends_s = [end_s + more for end_s, more in zip(ends_s, bias[node], strict=True)]
            if min(ends_s) < inf:
                device = ends_s.index(min(ends_s))
                measure.place(node, device)
                orders[device].append(node)
        return orders

    def _finish(self, snapshot: Snapshot, orders: Orders, memo: Memo | None) -> Plan:
        ready = [[node for node in order if node < snapshot.frontier] for order in orders]
        return Plan(
            policy=self.name,
            orders=tuple(tuple(snapshot.chunks[node] for node in order) for order in ready),
            memo=memo,
            search=Search(base=self.name),
        )


def _binding(snapshot: Snapshot, node: int) -> Chunk:
    """Return a node's name in the memo: a ready chunk is itself, a waiting stage has no items."""
    if node < snapshot.frontier:
        return snapshot.chunks[node]
    return Chunk(snapshot.node_names[node], 0, 0)


def bound_nodes(snapshot: Snapshot, memo: Memo | None) -> Orders:
    """Return the nodes that the last plan bound, by device, without those that must move.

    A stage bound while it waited takes its binding along when it becomes ready as one chunk. If
    it is cut into several they are bound one by one.
    """
    orders: Orders = [[] for _ in range(snapshot.devices)]
    left: dict[Chunk, int] = {}
    chunks_of = Counter(chunk.instance for chunk in snapshot.chunks)
    for node in range(len(snapshot.model)):
        left[_binding(snapshot, node)] = node
    for node, chunk in enumerate(snapshot.chunks):
        if chunks_of[chunk.instance] == 1:
            left[Chunk(chunk.instance, 0, 0)] = node
    may_run = (snapshot.eligible * (snapshot.free_at_s < inf).any(axis=1)).tolist()
    found = set[int]()
    for device, order in enumerate(memo.orders[: snapshot.devices] if memo else ()):
        for name in order:
            node = left.get(name, -1)
            if node >= 0 and node not in found and may_run[node][device]:
                orders[device].append(node)
                found.add(node)
    return orders
