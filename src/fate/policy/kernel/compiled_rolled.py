"""Greedy rules that run the whole visible DAG, compiled; see `reference_rolled`."""

from typing import NamedTuple

import numpy as np

from fate.domain.snapshot import F64, I64, U8
from fate.policy.kernel.compiled import appraise, run, work_seconds
from fate.policy.kernel.compiled_calls import soonest
from fate.policy.kernel.compiled_project import (
    FINISH,
    WHERE,
    Graph,
    Track,
    begin,
    end_all,
    gather_all_seconds,
    new_track,
    next_s,
    start,
    take,
)
from fate.policy.kernel.compiled_state import (
    FROM,
    GATHER,
    INF,
    State,
    fresh_state,
    inline,
    jit,
)
from fate.policy.kernel.problem import ELIGIBLE, HELD, HELD_USED, TAIL, Problem
from fate.policy.kernel.reference_project import ANY
from fate.policy.kernel.reference_rolled import window

#: An idle device without a head yet, and one that is not idle, in `_Lists.head`.
_OPEN, _BUSY = -1, -2


_window = jit(window)


class _Lists(NamedTuple):
    """Lists in the making.

    nodes [W] that are in no list yet, with ends [W, D] and gather [W, D] in seconds; rank [N]; head
    [D] the node that an idle device starts; copied [D] whether a device's trial state is one;
    first [T] the ready node of each workflow with the longest path.
    """

    nodes: I64
    ends: F64
    gather: F64
    rank: F64
    head: I64
    copied: U8
    first: I64


@jit
def _new_lists(p: Problem, teams: int, factors: F64, most: int) -> _Lists:
    nodes, devices = p.ids.shape[0], p.slots.shape[0]
    rank, looked = np.zeros(nodes), min(min(_window(nodes, devices), nodes), most)
    for node in range(nodes):
        own_s = INF
        for d in range(devices):
            if p.cells[node, d, ELIGIBLE]:
                own_s = min(own_s, work_seconds(p, node, d, 0.0))
        rank[node] = (p.sizes[node, TAIL] + (own_s if own_s < INF else 0.0)) * factors[node]
    return _Lists(
        np.zeros(looked, np.int64),
        np.zeros((looked, devices)),
        np.zeros((looked, devices)),
        rank,
        np.zeros(devices, np.int64),
        np.zeros(devices, np.uint8),
        np.zeros(teams, np.int64),
    )


@inline
def _copy_calls(s: State, to: State, d: int) -> None:
    to.begins_s[d] = s.begins_s[d]
    for slot in range(s.free_at_s.shape[1]):
        for column in range(s.calls_s.shape[2]):
            to.calls_s[d, slot, column] = s.calls_s[d, slot, column]
        for column in range(s.calls.shape[2]):
            to.calls[d, slot, column] = s.calls[d, slot, column]


@inline
def _copy(p: Problem, s: State, to: State, d: int) -> None:
    """Let a device's trial state be what it is now."""
    for slot in range(s.free_at_s.shape[1]):
        to.free_at_s[d, slot] = s.free_at_s[d, slot]
    if s.free_at_s.shape[1] > 1:
        _copy_calls(s, to, d)
    for row in range(s.model_s.shape[1]):
        to.model_s[d, row] = s.model_s[d, row]
    for row in range(s.store.shape[1]):
        to.store[d, row, 0] = s.store[d, row, 0]
        to.store[d, row, 1] = s.store[d, row, 1]
    for model in range(s.content.shape[1]):
        for k in range(s.content.shape[2]):
            to.content[d, model, k, HELD] = s.content[d, model, k, HELD]
            to.content[d, model, k, HELD_USED] = s.content[d, model, k, HELD_USED]
    if p.cached[d, -1]:
        for k in range(s.cached.shape[1]):
            to.cached[d, k] = s.cached[d, k]
        to.ends[d, 0], to.ends[d, 1] = s.ends[d, 0], s.ends[d, 1]
        for k in range(s.ends[d, 0], s.ends[d, 1]):
            to.queue[d, k, 0], to.queue[d, k, 1] = s.queue[d, k, 0], s.queue[d, k, 1]


@inline
def _value(ends: F64, rank: float, urgency: tuple[float, float, float, int]) -> float:
    """See `reference_rolled._value`."""
    first, second = INF, INF
    for d in range(ends.shape[0]):
        if ends[d] < first:
            first, second = ends[d], first
        elif ends[d] < second:
            second = ends[d]
    if not first < INF:
        return -INF
    value = urgency[1] * rank - urgency[2] * first
    if urgency[0] > 0.0:
        value = value + urgency[0] * (second - first)
    return value


@inline
def _most_urgent(w: _Lists, left: int, urgency: tuple[float, float, float, int]) -> int:
    """Return the place of the most urgent node, the lower one among equals; -1 is none."""
    best, most = -1, -INF
    for k in range(left):
        value = _value(w.ends[k], float(w.rank[w.nodes[k]]), urgency)
        if value > most or (value == most and best >= 0 and w.nodes[k] < w.nodes[best]):
            best, most = k, value
    return best


@inline
def _is_longer(w: _Lists, node: int, other: int) -> bool:
    """Whether the path from a node is the longer one, or its number the lower one among equals."""
    longer, equal = w.rank[node] > w.rank[other], w.rank[node] == w.rank[other]
    return bool(longer or (equal and node < other))


@inline
def _goes_first(graph: Graph, w: _Lists, node: int, other: int) -> bool:
    """See `reference_rolled._first`."""
    mine, its = w.first[graph.team[node]] == node, w.first[graph.team[other]] == other
    return bool(mine > its or (mine == its and _is_longer(w, node, other)))


@inline
def _look(p: Problem, s: State, graph: Graph, t: Track, w: _Lists, now_s: float) -> tuple[int, int]:
    """Begin new lists; return how many nodes are looked at, and how many devices are idle."""
    idle, devices = 0, p.slots.shape[0]
    for d in range(devices):
        slot = soonest(s, d)
        free = s.free_at_s[d, slot] <= now_s and t.inside[d, slot] < 0
        w.head[d] = _OPEN if free else _BUSY
        w.copied[d] = 0
        idle += 1 if free else 0
        s.model_s[d, FROM] = now_s
    count, ready = 0, int(t.counts[devices]) if idle else 0
    w.first[:] = -1
    for k in range(ready):
        node = int(t.ready[devices, k])
        other = int(w.first[graph.team[node]])
        if other < 0 or _is_longer(w, node, other):
            w.first[graph.team[node]] = node
    for k in range(ready):
        node, at = int(t.ready[devices, k]), count
        while at > 0 and _goes_first(graph, w, node, int(w.nodes[at - 1])):
            if at < w.nodes.shape[0]:
                w.nodes[at] = w.nodes[at - 1]
            at -= 1
        if at < w.nodes.shape[0]:
            w.nodes[at] = node
            count = min(count + 1, w.nodes.shape[0])
    for k in range(count):
        node = int(w.nodes[k])
        for d in range(devices):
            w.gather[k, d] = gather_all_seconds(p, graph, t, node, d)
            s.model_s[d, GATHER] = w.gather[k, d]
            w.ends[k, d] = appraise(p, s, d, node).finish_s
    return count, idle


@inline
def _fill(
    p: Problem,
    states: tuple[State, State],
    w: _Lists,
    todo: tuple[int, int],
    urgency: tuple[float, float, float, int],
) -> int:
    """Fill the heads of idle devices; return how many have one."""
    s, trial = states
    left, found = todo[0], 0
    while left > 0 and found < todo[1]:
        best = _most_urgent(w, left, urgency)
        if best < 0:
            break
        node, device = int(w.nodes[best]), 0
        for d in range(1, w.head.shape[0]):
            if w.ends[best, d] < w.ends[best, device]:
                device = d
        if w.head[device] == _OPEN:
            w.head[device] = node
            found += 1
        if not w.copied[device]:
            _copy(p, s, trial, device)
            w.copied[device] = 1
        trial.model_s[device, GATHER] = w.gather[best, device]
        run(p, trial, device, node)
        left -= 1
        w.nodes[best] = w.nodes[left]
        for d in range(w.head.shape[0]):
            w.ends[best, d], w.gather[best, d] = w.ends[left, d], w.gather[left, d]
        for k in range(left):
            trial.model_s[device, GATHER] = w.gather[k, device]
            w.ends[k, device] = appraise(p, trial, device, int(w.nodes[k])).finish_s
    return found


@inline
def _start(
    p: Problem, s: State, graph: Graph, t: Track, at: tuple[int, int, int], now_s: float
) -> bool:
    """Start a node on an idle device as the next one of all; False where it has to wait."""
    d, node, started = at
    anybody, slot = t.ready.shape[0] - 1, soonest(s, d)
    s.model_s[d, GATHER] = gather_all_seconds(p, graph, t, node, d)
    finish_s = start(p, s, t, d, node, now_s)
    if finish_s < p.now_s:
        return False
    for k in range(t.counts[anybody]):
        if t.ready[anybody, k] == node:
            take(t, anybody, k)
            break
    t.seconds[node, FINISH], t.marks[node, WHERE] = finish_s, d
    t.inside[d, slot] = t.last[d, slot] = node
    t.turn[node] = float(started)
    return True


@jit
def rolled(
    p: Problem, graph: Graph, urgency: tuple[float, float, float, int], factors: F64
) -> tuple[I64, F64]:
    """See `reference_rolled.rolled`."""
    nodes = p.ids.shape[0]
    s, trial, t = fresh_state(p), fresh_state(p), new_track(p)
    anywhere, w = np.full(nodes, ANY), _new_lists(p, graph.teams, factors, urgency[3])
    now_s, started = p.now_s, 0
    begin(p, s, graph, t, anywhere)
    while True:
        while True:
            todo = _look(p, s, graph, t, w, now_s)
            if not _fill(p, (s, trial), w, todo, urgency):
                break
            before = started
            for d in range(w.head.shape[0]):
                if w.head[d] >= 0:
                    at = (d, int(w.head[d]), started)
                    started += 1 if _start(p, s, graph, t, at, now_s) else 0
            if started == before:
                break
        now_s = next_s(s, t, now_s)
        if not now_s < INF:
            break
        end_all(p, s, t, anywhere, now_s)
    for node in range(nodes):
        if t.marks[node, WHERE] == ANY:
            t.turn[node] = float(nodes)
    return t.marks[:, WHERE].copy(), t.turn.copy()
