"""Greedy plans and the search over the whole visible DAG, compiled; see `reference_whole`."""

from typing import NamedTuple

import numpy as np

from fate.domain.snapshot import F64, I64, U8
from fate.policy.kernel.compiled import appraise, run, work_seconds
from fate.policy.kernel.compiled_project import (
    BEFORE,
    FINISH,
    LEFT,
    READY,
    WHERE,
    Graph,
    Track,
    gather_all_seconds,
    new_track,
    project,
    worth,
)
from fate.policy.kernel.compiled_state import FROM, GATHER, INF, State, fresh_state, inline, jit
from fate.policy.kernel.problem import AFTER, ELIGIBLE, MODEL, RELEASED, TAIL, Problem
from fate.policy.kernel.reference_plans import EFT
from fate.policy.kernel.reference_project import ANY
from fate.policy.kernel.reference_whole import CHANGES, KINDS


class _Open(NamedTuple):
    """Nodes that may be placed next: flags [N], rank [N], and their ends [N, D] where known."""

    flags: U8
    rank: F64
    ends: F64
    known: U8


@jit
def _open_nodes(p: Problem, graph: Graph, t: Track) -> _Open:
    nodes, devices = p.ids.shape[0], p.slots.shape[0]
    rank, flags = np.zeros(nodes), np.zeros(nodes, np.uint8)
    for node in range(nodes):
        t.seconds[node, READY] = max(p.sizes[node, RELEASED], p.now_s)
        t.marks[node, LEFT] = graph.ptr[node + 1] - graph.ptr[node]
        t.marks[node, WHERE] = ANY
        flags[node] = not t.marks[node, LEFT]
        own_s = INF
        for d in range(devices):
            if p.cells[node, d, ELIGIBLE]:
                own_s = min(own_s, work_seconds(p, node, d, 0.0))
        rank[node] = p.sizes[node, TAIL] + (own_s if own_s < INF else 0.0)
    return _Open(flags, rank, np.zeros((nodes, devices)), np.zeros(nodes, np.uint8))


@inline
def _longest(o: _Open) -> int:
    first = -1
    for node in range(o.flags.shape[0]):
        if o.flags[node] and (first < 0 or o.rank[node] > o.rank[first]):
            first = node
    return first


@inline
def _pick(p: Problem, s: State, graph: Graph, t: Track, o: _Open, only: int) -> tuple[int, int]:
    """Return the (node, device) that ends first of all open nodes, or of the only one."""
    best_s, best, at = INF, -1, ANY
    for node in range(o.flags.shape[0]):
        if not o.flags[node] or (only >= 0 and node != only):
            continue
        if not o.known[node]:
            for d in range(o.ends.shape[1]):
                o.ends[node, d] = _end(p, s, graph, t, node, d)
            o.known[node] = only < 0
        for d in range(o.ends.shape[1]):
            if o.ends[node, d] < best_s:
                best_s, best, at = o.ends[node, d], node, d
    return best, at


@jit
def forward(p: Problem, graph: Graph, rule: int) -> tuple[I64, F64]:
    """See `reference_whole.forward`."""
    nodes, s, t = p.ids.shape[0], fresh_state(p), new_track(p)
    turn, o = np.full(nodes, float(nodes)), _open_nodes(p, graph, t)
    for count in range(nodes):
        only = _longest(o) if rule == EFT else -1
        best, at = _pick(p, s, graph, t, o, only)
        if best < 0 and only >= 0:
            o.flags[only] = 0
            continue
        if best < 0:
            break
        _end(p, s, graph, t, best, at)
        finish_s = run(p, s, at, best)
        t.marks[best, WHERE], turn[best] = at, float(count)
        o.flags[best] = 0
        for node in range(nodes if rule != EFT else 0):
            if o.flags[node] and o.known[node]:
                o.ends[node, at] = _end(p, s, graph, t, node, at)
        for edge in range(p.child_ptr[best], p.child_ptr[best + 1]):
            child = p.child[edge]
            at_s = finish_s + p.edges[edge, AFTER]
            t.seconds[child, READY] = max(t.seconds[child, READY], at_s)
            t.marks[child, LEFT] -= 1
            if not t.marks[child, LEFT]:
                o.flags[child] = 1
    return t.marks[:, WHERE].copy(), turn


@inline
def _end(p: Problem, s: State, graph: Graph, t: Track, node: int, device: int) -> float:
    """Appraise a node on a device that starts it no sooner than its parents end."""
    s.model_s[device, -2, FROM] = t.seconds[node, READY]
    s.model_s[device, -2, GATHER] = gather_all_seconds(p, graph, t, node, device)
    return appraise(p, s, device, node)[0]


@jit
def search(
    p: Problem, graph: Graph, places: tuple[I64, F64], moves: I64, aims: tuple[float, float]
) -> tuple[I64, F64, float]:
    """See `reference_whole.search`."""
    s, t = fresh_state(p), new_track(p)
    device, turn = places[0].copy(), places[1].copy()
    project(p, s, graph, t, (device, turn), INF)
    best_s = worth(p, graph, t, aims[0], aims[1])
    trial_device, trial_turn = device.copy(), turn.copy()
    seconds, marks = t.seconds.copy(), t.marks.copy()
    for k in range(moves.shape[0] if device.shape[0] else 0):
        trial_device[:] = device
        trial_turn[:] = turn
        for change in range(1 + moves[k, 0] % CHANGES):
            row = moves[k, 1 + 4 * change : 5 + 4 * change]
            node = _critical(p, graph, seconds, marks, row)
            _change(p, (trial_device, trial_turn), node, marks, row)
        project(p, s, graph, t, (trial_device, trial_turn), best_s)
        value_s = worth(p, graph, t, aims[0], aims[1])
        if value_s <= best_s:
            best_s = value_s
            device[:] = trial_device
            turn[:] = trial_turn
            seconds[:] = t.seconds
            marks[:] = t.marks
    return device, turn, best_s


@inline
def _critical(p: Problem, graph: Graph, seconds: F64, marks: I64, row: I64) -> int:
    """See `reference_whole.critical`."""
    nodes = marks.shape[0]
    if row[3] % 3 == 0:
        return int(row[1] % nodes)
    team = row[3] // 3 % (graph.teams + 1)
    last = -1
    for node in range(nodes):
        among = team == graph.teams or graph.team[node] == team
        later = last < 0 or seconds[node, FINISH] > seconds[last, FINISH]
        if among and later and seconds[node, FINISH] < INF:
            last = node
    if last < 0:
        return int(row[1] % nodes)
    length, node = 1, last
    while True:
        node = _cause(p, graph, seconds, marks, node)
        if node < 0:
            break
        length += 1
    node = last
    for _ in range(row[1] % length):
        node = _cause(p, graph, seconds, marks, node)
    return int(node)


@inline
def _cause(p: Problem, graph: Graph, seconds: F64, marks: I64, node: int) -> int:
    """See `reference_whole.cause`."""
    before = int(marks[node, BEFORE])
    if before >= 0 and seconds[before, FINISH] >= seconds[node, READY]:
        return before
    latest = -1
    for k in range(graph.ptr[node], graph.ptr[node + 1]):
        parent = int(graph.parent[k])
        if latest < 0 or seconds[parent, FINISH] > seconds[latest, FINISH]:
            latest = parent
    return latest


@inline
def _change(p: Problem, places: tuple[I64, F64], node: int, marks: I64, row: I64) -> None:
    device, turn = places
    nodes = device.shape[0]
    kind, other, to = row[0] % KINDS, int(row[2] % nodes), int(row[2] % p.slots.shape[0])
    if kind == 0:
        _put(p, device, node, to)
    elif kind == 1:
        turn[node] = turn[other] - 0.5
    elif kind == 2:
        here, there = int(device[node]), int(device[other])
        _put(p, device, node, there)
        _put(p, device, other, here)
        turn[node], turn[other] = turn[other], turn[node]
    elif kind == 3:
        _put(p, device, node, to)
        for edge in range(p.child_ptr[node], p.child_ptr[node + 1], 2):
            _put(p, device, p.child[edge], to)
    elif kind == 4:
        for step in range(nodes):
            like = (other + step) % nodes
            if like != node and p.ids[like, MODEL] == p.ids[node, MODEL]:
                _put(p, device, node, int(device[like]))
                turn[node] = turn[like] + 0.5
                break
    else:
        before = int(marks[node, BEFORE])
        if before >= 0:
            turn[node] = turn[before] - 0.5


@inline
def _put(p: Problem, device: I64, node: int, to: int) -> None:
    if to >= 0 and p.cells[node, to, ELIGIBLE]:
        device[node] = to
