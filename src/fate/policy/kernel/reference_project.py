"""Running a plan for the whole visible DAG to completion, in plain Python: the specification.

A plan gives every node a device and a turn. From now on, whenever a slot is free, its device
starts the ready node with the lowest turn among those that are its own; what that costs and leaves
behind is what `reference` says. A node is ready when its visible parents have ended and those that
run now (`released_at_s`) too, tools in between included. All on estimates: running calls end when
they are expected to, and nobody else arrives.

A node that finds the memory it needs in use waits at the head of its device's list, as it does in
the core, and nothing starts there before it. What slots that run several calls do to each other is
what `reference_state` says.

A node whose device is `ANY` goes to whichever idle device finds it cheapest to load, gather and
prefill. Ties are broken by node index, then device index, lowest first.

`compiled_project` repeats this file expression by expression; both must agree to the last bit.
"""

from collections.abc import Sequence
from math import ceil, inf
from typing import Final, NamedTuple

from fate.cost.terms import prefill_seconds
from fate.policy.kernel.problem import Plain
from fate.policy.kernel.reference import appraise, commit, gather_seconds
from fate.policy.kernel.reference_state import (
    Bench,
    Placement,
    begun,
    benches,
    next_seconds,
    settle,
)

#: Device of a node that any idle device may take.
ANY: Final = -1
#: What a node that cannot run adds to a plan's value [s]: whoever leaves fewer out is better.
LEFT_OUT_S: Final = 1e9
#: The quantile that `Aims.tail` weighs.
_TAIL: Final = 0.95


class Places(NamedTuple):
    """A plan for all N nodes: where each runs, and which turn it has there (lowest first)."""

    device: list[int]
    turn: list[float]


class Aims(NamedTuple):
    """What a plan is worth: makespan plus weighted mean and tail of the workflows' ends."""

    mean: float = 0.3
    tail: float = 0.0


class Graph(NamedTuple):
    """The edges the other way round: the `parents` of each node.

    `team` numbers the workflows of the nodes from 0 to `teams` - 1.
    """

    parents: list[list[int]]
    team: list[int]
    teams: int


class Projection(NamedTuple):
    """When each node ends (inf: never), where it ran, and the order in which nodes started.

    `ready_s` is when its parents had ended, `before` the node that ran in its slot before (-1).
    """

    finish_s: list[float]
    device: list[int]
    turn: list[float]
    ready_s: list[float]
    before: list[int]


def reverse(p: Plain, workflow: Sequence[int]) -> Graph:
    """Return the edges by child, and the workflows of nodes numbered from 0."""
    parents = [list[int]() for _ in p.model]
    for node in range(len(p.model)):
        for edge in range(p.child_ptr[node], p.child_ptr[node + 1]):
            parents[p.child[edge]].append(node)
    numbers = {number: team for team, number in enumerate(sorted(set(workflow)))}
    return Graph(parents, [numbers[number] for number in workflow], len(numbers))


class Run:
    """A plan on its way: device states, what is ready, what runs in each slot."""

    def __init__(self, p: Plain, graph: Graph, places: Places) -> None:
        nodes = len(p.model)
        self.p, self.graph, self.places = p, graph, places
        self.benches = benches(p)
        self.now_s = p.now_s
        self.left = [len(parents) for parents in graph.parents]
        self.ready_at_s = [max(at_s, p.now_s) for at_s in p.released_at_s]
        self.ready: dict[int, list[int]] = {d: [] for d in range(ANY, p.devices)}
        self.pending: list[int] = []
        self.inside = [[-1] * len(bench.free_at_s) for bench in self.benches]
        self.finish_s, self.device = [inf] * nodes, [ANY] * nodes
        self.turn, self.before = [0.0] * nodes, [-1] * nodes
        self.last = [[-1] * len(bench.free_at_s) for bench in self.benches]
        self.started, self.wake_s = 0, inf
        for node in range(nodes):
            if not self.left[node]:
                self.admit(node)

    def admit(self, node: int) -> None:
        """A node's parents have ended: it is ready now or when their tools are done."""
        if self.ready_at_s[node] <= self.now_s:
            self.ready[self.places.device[node]].append(node)
        else:
            self.pending.append(node)

    def appraise(self, node: int, device: int) -> Placement | None:
        """Return what starting a node now would take."""
        bench = self.benches[device]
        bench.from_s = self.now_s
        bench.gather_s = self.gather_seconds(node, device)
        return appraise(self.p, bench, device, node)

    def idle(self) -> list[int]:
        """Return the devices that have a free slot now."""
        return [d for d, bench in enumerate(self.benches) if self._slot(bench, d) >= 0]

    def _slot(self, bench: Bench, device: int) -> int:
        """Return the slot a device would use now, -1 if it has none."""
        slot = bench.free_at_s.index(min(bench.free_at_s))
        # A call that takes no time has to end before the next one starts.
        free = bench.free_at_s[slot] <= self.now_s and self.inside[device][slot] < 0
        return slot if free else -1

    def start(self, node: int, device: int) -> bool:
        """Start a ready node on an idle device; one that cannot run there after all never runs.

        False where it has to wait for memory in use.
        """
        bench = self.benches[device]
        placed = self.appraise(node, device)
        if placed is not None and placed.blocked:
            self.wake_s = min(self.wake_s, next_seconds(bench, self.now_s))
            return False
        self.ready[self.places.device[node]].remove(node)
        if placed is None:
            return True
        slot = placed.slot
        commit(self.p, bench, node, placed)
        self.before[node] = self.last[device][slot]
        self.inside[device][slot] = self.last[device][slot] = node
        self.finish_s[node], self.device[node] = placed.finish_s, device
        self.turn[node] = float(self.started)
        self.started += 1
        begun(bench)
        return True

    def start_all(self) -> None:
        """Let every device start what it can."""
        for device, bench in enumerate(self.benches):
            while self._slot(bench, device) >= 0:
                node = self.choose(device)
                if node < 0 or not self.start(node, device):
                    break

    def gather_seconds(self, node: int, device: int) -> float:
        """Return the seconds to gather the outputs of parents that ran in this projection."""
        return gather_all_seconds(self.p, self.graph, self.device, node, device)

    def choose(self, device: int) -> int:
        """Return the node a device starts next: its own come before those that are anybody's."""
        mine, turn = self.ready[device], self.places.turn
        if mine:
            return min(mine, key=lambda node: (turn[node], node))
        best_s, best = inf, -1
        for node in self.ready[ANY]:
            placed = self.appraise(node, device)
            if placed is None:
                continue
            price_s = price_seconds(self.p, node, device, placed)
            if price_s < best_s or (price_s == best_s and node < best):
                best, best_s = node, price_s
        return best

    def next_s(self) -> float:
        """Return when something happens next; inf if nothing does."""
        at_s, self.wake_s = self.wake_s, inf
        for bench, inside in zip(self.benches, self.inside, strict=True):
            for slot, (free_s, node) in enumerate(zip(bench.free_at_s, inside, strict=True)):
                if node >= 0 or self.now_s < free_s < inf:
                    begins_s = -inf if bench.calls is None else bench.calls.at_s[slot]
                    change_s = begins_s if begins_s > -inf else free_s
                    at_s = min(at_s, max(change_s, self.now_s))
        for node in self.pending:
            at_s = min(at_s, self.ready_at_s[node])
        return at_s

    def end_all(self) -> None:
        """Let calls begin, and what has ended by now release what waits for it."""
        for bench, inside in zip(self.benches, self.inside, strict=True):
            settle(self.p, bench, self.now_s)
            for node, end_s in begun(bench):
                if node >= 0:
                    self.finish_s[node] = end_s
            for slot, node in enumerate(inside):
                if node >= 0 and bench.free_at_s[slot] <= self.now_s:
                    inside[slot] = -1
                    self.release(node)
        due = [node for node in self.pending if self.ready_at_s[node] <= self.now_s]
        self.pending = [node for node in self.pending if self.ready_at_s[node] > self.now_s]
        for node in due:
            self.ready[self.places.device[node]].append(node)

    def release(self, node: int) -> None:
        """Tell the children of a node that it has ended."""
        p = self.p
        for edge in range(p.child_ptr[node], p.child_ptr[node + 1]):
            child = p.child[edge]
            at_s = self.finish_s[node] + p.child_after_s[edge]
            self.ready_at_s[child] = max(self.ready_at_s[child], at_s)
            self.left[child] -= 1
            if not self.left[child]:
                self.admit(child)


def project(p: Plain, graph: Graph, places: Places, limit_s: float = inf) -> Projection:
    """Run a plan to completion.

    Args:
        p: the problem, with every visible node.
        graph: see `reverse`.
        places: the plan.
        limit_s: give up once this many seconds have passed: the plan is worth no less.
    """
    run = Run(p, graph, places)
    while True:
        run.start_all()
        run.now_s = run.next_s()
        if not run.now_s < inf or run.now_s - p.now_s > limit_s:
            return Projection(run.finish_s, run.device, run.turn, run.ready_at_s, run.before)
        run.end_all()


def gather_all_seconds(p: Plain, graph: Graph, where: list[int], node: int, device: int) -> float:
    """Return the seconds to gather the outputs of parents that were nodes themselves."""
    seconds = 0.0
    for parent in graph.parents[node]:
        seconds = seconds + gather_seconds(p, parent, where[parent], device)
    return seconds


def price_seconds(p: Plain, node: int, device: int, placed: Placement) -> float:
    """Return the seconds a call spends before it decodes."""
    unload_s, load_s, transfer_s, _ = placed.terms
    prefill = p.prefill[device][p.model[node]]
    prefill_s = prefill_seconds(p.first_tokens[node] - placed.cached, placed.cached, *prefill)
    return ((unload_s + load_s) + transfer_s) + prefill_s


def worth(p: Plain, graph: Graph, finish_s: list[float], aims: Aims) -> float:
    """Return the value of a projection in seconds, lower is better."""
    last_s, latest_s, left_out = [p.now_s] * graph.teams, p.now_s, 0
    for node, end_s in enumerate(finish_s):
        if end_s < inf:
            team = graph.team[node]
            last_s[team] = max(last_s[team], end_s)
            latest_s = max(latest_s, end_s)
        else:
            left_out += 1
    value_s = latest_s - p.now_s
    if aims.mean > 0.0 and graph.teams:
        total_s = 0.0
        for end_s in last_s:
            total_s = total_s + (end_s - p.now_s)
        value_s = value_s + aims.mean * (total_s / graph.teams)
    if aims.tail > 0.0 and graph.teams:
        at = ceil(_TAIL * graph.teams) - 1
        value_s = value_s + aims.tail * (sorted(last_s)[at] - p.now_s)
    return value_s + LEFT_OUT_S * left_out


def seconds_of(value_s: float) -> float:
    """Return what a plan's value counts of time: all but the nodes that run nowhere."""
    return value_s % LEFT_OUT_S
