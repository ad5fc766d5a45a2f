"""The search over the whole visible DAG, in plain Python: the specification.

`compiled_whole` repeats this file expression by expression; both must agree to the last bit.
"""

from math import inf
from typing import Final

from fate.policy.kernel.problem import Plain
from fate.policy.kernel.reference_project import Aims, Graph, Places, Projection, project, worth

#: Changes of a move at most, and its integers: how many changes, then four for each.
CHANGES: Final = 3
MOVE_WIDTH: Final = 1 + 4 * CHANGES
#: Kinds of changes.
KINDS: Final = 6


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
