"""The search over the whole visible DAG, in plain Python: the specification.

`compiled_whole` repeats this file expression by expression; both must agree to the last bit.
"""

from math import inf
from typing import Final

from fate.policy.kernel.problem import Plain
from fate.policy.kernel.reference_project import Aims, Graph, Places, Projection, project, worth

#: Changes that a move may make, each as often as it is listed; a move's integers: one for how many
#: changes, then four for each.
CHANGES: Final = (1, 1, 1, 1, 1, 1, 1, 2, 2, 3)
MOVE_WIDTH: Final = 1 + 4 * max(CHANGES)
#: Kinds of changes, and how often each is made.
ELSEWHERE, EARLIER, SWAP, FAMILY, JOIN = range(5)
KINDS: Final = (*[ELSEWHERE] * 3, *[EARLIER] * 3, *[SWAP] * 2, FAMILY, *[JOIN] * 3)
#: In so many cases of `CASES` a change is about what the end of a workflow waits for.
CRITICAL, CASES = 10, 12


def search(
    p: Plain,
    graph: Graph,
    places: Places,
    moves: list[list[int]],
    slack_s: list[float],
    aims: Aims,
) -> tuple[Places, float]:
    """Return the best plan met while trying every move in turn, and its value.

    A move makes a few changes, most of them to nodes that some workflow's end waits for. It stays
    if the plan it makes is worse by no more than its slack; the turns are then those in which the
    nodes have started.

    Args:
        p: the problem.
        graph: see `reverse`.
        places: the plan to start from.
        moves: rows of `MOVE_WIDTH` random integers >= 0.
        slack_s: for each move, the loss that is taken; 0 takes no loss.
        aims: what a plan is worth.
    """
    best, found = places, project(p, graph, places)
    best_s = value_s = worth(p, graph, found.finish_s, aims)
    for move, loss_s in zip(moves if p.model else [], slack_s, strict=False):
        trial = Places(list(places.device), list(places.turn))
        for change in range(CHANGES[move[0] % len(CHANGES)]):
            row = move[1 + 4 * change : 5 + 4 * change]
            _change(p, trial, critical(graph, found, row), found, row)
        limit_s = value_s + loss_s
        tried = project(p, graph, trial, limit_s)
        tried_s = worth(p, graph, tried.finish_s, aims)
        if tried_s <= limit_s:
            places, found, value_s = Places(trial.device, tried.turn), tried, tried_s
            if value_s < best_s:
                best, best_s = places, value_s
    return best, best_s


def critical(graph: Graph, found: Projection, row: list[int]) -> int:
    """Return the node a change is about.

    Mostly one on the path of causes that ends with the last node of a workflow, or of all.
    """
    nodes = len(found.finish_s)
    if row[3] % CASES >= CRITICAL:
        return row[1] % nodes
    team = row[3] // CASES % (graph.teams + 1)
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


def overtaken(found: Projection, node: int) -> list[int]:
    """Return the nodes that started in a node's slot while it was ready, the last one first."""
    passed: list[int] = []
    before = found.before[node]
    while before >= 0 and _started_s(found, before) >= found.ready_s[node]:
        passed.append(before)
        before = found.before[before]
    return passed


def _started_s(found: Projection, node: int) -> float:
    """Return when a node started, or a time before, if its slot was not free as the plan began."""
    before = found.before[node]
    ready_s = found.ready_s[node]
    return max(ready_s, found.finish_s[before]) if before >= 0 else ready_s


def _change(p: Plain, trial: Places, node: int, found: Projection, row: list[int]) -> None:
    """Change a plan: kind, what the node was drawn from, and another node or device.

    The node goes to another device (`ELSEWHERE`), before one that it could have preceded in its
    slot (`EARLIER`; to another device if there is none), changes places with another one (`SWAP`),
    to a device with every second child (`FAMILY`), or behind the next node in number that runs the
    same model (`JOIN`).
    """
    kind, other, device = KINDS[row[0] % len(KINDS)], row[2] % len(p.model), row[2] % p.devices
    if kind == EARLIER:
        passed = overtaken(found, node)
        if passed:
            trial.turn[node] = trial.turn[passed[row[2] % len(passed)]] - 0.5
            return
    if kind in (ELSEWHERE, EARLIER):
        _leave(p, trial, node, device)
    elif kind == SWAP:
        here, there = trial.device[node], trial.device[other]
        _put(p, trial, node, there)
        _put(p, trial, other, here)
        trial.turn[node], trial.turn[other] = trial.turn[other], trial.turn[node]
    elif kind == FAMILY:
        _put(p, trial, node, device)
        for edge in range(p.child_ptr[node], p.child_ptr[node + 1], 2):
            _put(p, trial, p.child[edge], device)
    else:
        _join(p, trial, node, other)


def _leave(p: Plain, trial: Places, node: int, device: int) -> None:
    """Give a node the next device in number that may run it and is not its own."""
    for step in range(p.devices):
        to = (device + step) % p.devices
        if to != trial.device[node] and p.eligible[node][to]:
            trial.device[node] = to
            return


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
