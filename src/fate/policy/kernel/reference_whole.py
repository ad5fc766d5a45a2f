"""Greedy plans and the search over the whole visible DAG, in plain Python: the specification.

`compiled_whole` repeats this file expression by expression; both must agree to the last bit.
"""

from math import inf
from typing import Final

from fate.policy.kernel.problem import Plain
from fate.policy.kernel.reference import Placement, appraise, benches, commit, work_seconds
from fate.policy.kernel.reference_plans import EFT, Rule
from fate.policy.kernel.reference_project import (
    ANY,
    Aims,
    Graph,
    Places,
    Projection,
    gather_all_seconds,
    project,
    worth,
)

#: Changes of a move at most, and its integers: how many changes, then four for each.
CHANGES: Final = 3
MOVE_WIDTH: Final = 1 + 4 * CHANGES
#: Kinds of changes.
KINDS: Final = 6


class _Forward:
    """A greedy plan on its way: what is placed, and which nodes may be next."""

    def __init__(self, p: Plain, graph: Graph) -> None:
        nodes = len(p.model)
        self.p, self.graph, self.benches = p, graph, benches(p)
        self.left = [len(parents) for parents in graph.parents]
        self.ready_at_s = [max(at_s, p.now_s) for at_s in p.released_at_s]
        self.rank = [p.tail_s[node] + _least_work(p, node) for node in range(nodes)]
        self.where, self.turn = [ANY] * nodes, [float(nodes)] * nodes
        self.open = [node for node in range(nodes) if not self.left[node]]

    def appraise(self, node: int, device: int) -> Placement | None:
        """Return what a node would take if it started no sooner than its parents end."""
        bench = self.benches[device]
        bench.from_s = self.ready_at_s[node]
        bench.gather_s = gather_all_seconds(self.p, self.graph, self.where, node, device)
        return appraise(self.p, bench, device, node)

    def ends(self, node: int) -> list[float]:
        """Return when a node would end on each device."""
        placed = [self.appraise(node, device) for device in range(self.p.devices)]
        return [inf if one is None else one.finish_s for one in placed]

    def pick(self, nodes: list[int]) -> tuple[int, int]:
        """Return the (node, device) that ends first; node -1 if none can run."""
        best_s, best, at = inf, -1, ANY
        for node in sorted(nodes):
            for device, end_s in enumerate(self.ends(node)):
                if end_s < best_s:
                    best_s, best, at = end_s, node, device
        return best, at

    def place(self, node: int, device: int, turn: int) -> None:
        """Put a node on a device; its children may be next."""
        p, placed = self.p, self.appraise(node, device)
        assert placed is not None
        commit(p, self.benches[device], node, placed)
        self.where[node], self.turn[node] = device, float(turn)
        self.open.remove(node)
        for edge in range(p.child_ptr[node], p.child_ptr[node + 1]):
            child = p.child[edge]
            at_s = placed.finish_s + p.child_after_s[edge]
            self.ready_at_s[child] = max(self.ready_at_s[child], at_s)
            self.left[child] -= 1
            if not self.left[child]:
                self.open.append(child)


def forward(p: Plain, graph: Graph, rule: Rule) -> Places:
    """Return a greedy plan for all nodes, built node by node; those nobody can run keep `ANY`.

    EFT: of the nodes whose parents are placed the one with the longest path below, where it ends
    first. MIN_MIN: of all such nodes and devices the pair that ends first.
    """
    plan = _Forward(p, graph)
    for count in range(len(p.model)):
        pool = plan.open
        if rule == EFT:
            pool = sorted(pool, key=lambda node: (-plan.rank[node], node))[:1]
        best, device = plan.pick(pool)
        if best >= 0:
            plan.place(best, device, count)
        elif rule == EFT and pool:
            plan.open.remove(pool[0])
        else:
            break
    return Places(plan.where, plan.turn)


def _least_work(p: Plain, node: int) -> float:
    return min(
        [work_seconds(p, node, d, 0.0) for d in range(p.devices) if p.eligible[node][d]],
        default=0.0,
    )


def search(
    p: Plain, graph: Graph, places: Places, moves: list[list[int]], aims: Aims
) -> tuple[Places, float]:
    """Return a plan after trying every move in turn, and its value.

    A move makes one to three changes, most of them to nodes that some workflow's end waits for,
    and stays if the plan is worth no less.

    Args:
        p: the problem.
        graph: see `reverse`.
        places: the plan to start from.
        moves: rows of `MOVE_WIDTH` random integers >= 0.
        aims: what a plan is worth.
    """
    found = project(p, graph, places)
    best_s = worth(p, graph, found.finish_s, aims)
    for move in moves if p.model else []:
        trial = Places(list(places.device), list(places.turn))
        for change in range(1 + move[0] % CHANGES):
            row = move[1 + 4 * change : 5 + 4 * change]
            _change(p, trial, critical(graph, found, row), found.before, row)
        tried = project(p, graph, trial, best_s)
        value_s = worth(p, graph, tried.finish_s, aims)
        if value_s <= best_s:
            places, found, best_s = trial, tried, value_s
    return places, best_s


def critical(graph: Graph, found: Projection, row: list[int]) -> int:
    """Return the node a change is about.

    Any node in one case of three; else one on the path of causes that ends with the last node of
    a workflow, or of all.
    """
    nodes = len(found.finish_s)
    if row[3] % 3 == 0:
        return row[1] % nodes
    team = row[3] // 3 % (graph.teams + 1)
    last = -1
    for node in range(nodes):
        among = team == graph.teams or graph.team[node] == team
        later = last < 0 or found.finish_s[node] > found.finish_s[last]
        if among and later and found.finish_s[node] < inf:
            last = node
    if last < 0:
        return row[1] % nodes
    path = [last]
    while (node := cause(graph, found, path[-1])) >= 0:
        path.append(node)
    return path[row[1] % len(path)]


def cause(graph: Graph, found: Projection, node: int) -> int:
    """Return what a node waited for last: the node before it in its slot, or a parent; -1 none."""
    before = found.before[node]
    if before >= 0 and found.finish_s[before] >= found.ready_s[node]:
        return before
    latest = -1
    for parent in graph.parents[node]:
        if latest < 0 or found.finish_s[parent] > found.finish_s[latest]:
            latest = parent
    return latest


def _change(p: Plain, trial: Places, node: int, before: list[int], row: list[int]) -> None:
    """Change a plan: kind, what the node was drawn from, and another node or device.

    0 gives the node another device, 1 the turn before another node, 2 lets two nodes change
    places, 3 gives it and every second child another device, 4 puts it behind the next node in
    number that runs the same model, 5 before the node that ran before it.
    """
    kind, other, device = row[0] % KINDS, row[2] % len(p.model), row[2] % p.devices
    if kind == 0:
        _put(p, trial, node, device)
    elif kind == 1:
        trial.turn[node] = trial.turn[other] - 0.5
    elif kind == 2:
        here, there = trial.device[node], trial.device[other]
        _put(p, trial, node, there)
        _put(p, trial, other, here)
        trial.turn[node], trial.turn[other] = trial.turn[other], trial.turn[node]
    elif kind == 3:
        _put(p, trial, node, device)
        for edge in range(p.child_ptr[node], p.child_ptr[node + 1], 2):
            _put(p, trial, p.child[edge], device)
    elif kind == 4:
        _join(p, trial, node, other)
    elif before[node] >= 0:
        trial.turn[node] = trial.turn[before[node]] - 0.5


def _join(p: Plain, trial: Places, node: int, other: int) -> None:
    for step in range(len(p.model)):
        like = (other + step) % len(p.model)
        if like != node and p.model[like] == p.model[node]:
            _put(p, trial, node, trial.device[like])
            trial.turn[node] = trial.turn[like] + 0.5
            return


def _put(p: Plain, trial: Places, node: int, device: int) -> None:
    if device >= 0 and p.eligible[node][device]:
        trial.device[node] = device
