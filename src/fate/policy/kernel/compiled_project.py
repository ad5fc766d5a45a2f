"""Running a plan for the whole visible DAG to completion, compiled; see `reference_project`."""

from typing import NamedTuple

import numpy as np

from fate.domain.snapshot import F64, I64
from fate.policy.kernel.compiled import appraise, commit, gather_seconds, prefill
from fate.policy.kernel.compiled_calls import next_seconds, settle, soonest
from fate.policy.kernel.compiled_state import (
    FROM,
    GATHER,
    INF,
    State,
    fresh_state,
    inline,
    jit,
    reset,
    within,
)
from fate.policy.kernel.problem import (
    AFTER,
    FIRST,
    MODEL,
    PREFILL,
    RELEASED,
    Problem,
)
from fate.policy.kernel.reference_project import ANY, LEFT_OUT_S

#: Columns of `Track.seconds` and `Track.marks`.
READY, FINISH = range(2)
LEFT, WHERE, BEFORE = range(3)


class Graph(NamedTuple):
    """See `reference_project.Graph`; parents in CSR form."""

    ptr: I64
    parent: I64
    team: I64
    teams: int


class Track(NamedTuple):
    """Scratch of a projection.

    seconds [N, 2] ready at and finish; marks [N, 3] parents left, device, and the node that ran
    in the slot before; turn [N]; last [D, S] the node that ran in each slot last; idle [D]
    devices that may start one; ready [D + 1, N] lists by device, the last one anybody's, with
    counts [D + 2], the last one that of pending [N]; inside [D, S]; blocked [D, 2] the node that
    waits for memory in use until retry_s [D], and how many were ready there then (-1: it is
    anybody's); the last of `retry_s` is the soonest of all since events were looked for.
    """

    seconds: F64
    marks: I64
    turn: F64
    idle: I64
    ready: I64
    counts: I64
    pending: I64
    inside: I64
    last: I64
    blocked: I64
    retry_s: F64


@jit
def reverse(p: Problem, team: I64, teams: int) -> Graph:
    """See `reference_project.reverse`."""
    nodes = p.ids.shape[0]
    ptr, parent = np.zeros(nodes + 1, np.int64), np.zeros(p.child.shape[0], np.int64)
    for edge in range(p.child.shape[0]):
        ptr[p.child[edge] + 1] += 1
    for node in range(nodes):
        ptr[node + 1] += ptr[node]
    filled = ptr[:-1].copy()
    for node in range(nodes):
        for edge in range(p.child_ptr[node], p.child_ptr[node + 1]):
            child = p.child[edge]
            parent[filled[child]] = node
            filled[child] += 1
    return Graph(ptr, parent, team, teams)


@jit
def new_track(p: Problem) -> Track:
    """Return scratch for projections of a problem."""
    nodes, devices, slots = p.ids.shape[0], p.slots.shape[0], p.slots.shape[1]
    return Track(
        np.zeros((nodes, 2)),
        np.zeros((nodes, 3), np.int64),
        np.zeros(nodes),
        np.zeros(devices, np.int64),
        np.zeros((devices + 1, nodes), np.int64),
        np.zeros(devices + 2, np.int64),
        np.zeros(nodes, np.int64),
        np.zeros((devices, slots), np.int64),
        np.zeros((devices, slots), np.int64),
        np.zeros((devices, 2), np.int64),
        np.zeros(devices + 1),
    )


@inline
def gather_all_seconds(p: Problem, graph: Graph, t: Track, node: int, device: int) -> float:
    """See `reference_project.gather_all_seconds`."""
    seconds = 0.0
    for k in range(graph.ptr[node], graph.ptr[node + 1]):
        parent = int(graph.parent[k])
        where = int(t.marks[parent, WHERE])
        seconds = seconds + gather_seconds(p, parent, where, device)
    return seconds


@inline
def _admit(t: Track, device: I64, node: int, now_s: float) -> None:
    if t.seconds[node, READY] <= now_s:
        row = device[node] if device[node] >= 0 else t.ready.shape[0] - 1
        t.ready[row, t.counts[row]] = node
        t.counts[row] += 1
    else:
        t.pending[t.counts[-1]] = node
        t.counts[-1] += 1


@inline
def take(t: Track, row: int, place: int) -> None:
    """Take a node off a list of ready ones."""
    t.counts[row] -= 1
    t.ready[row, place] = t.ready[row, t.counts[row]]


@inline
def _price(p: Problem, s: State, device: int, node: int) -> float:
    placed = appraise(p, s, device, node)
    if not placed.finish_s < INF:
        return INF
    cached, before_s = placed.cached, placed.before_s
    rates = p.rates[device, p.ids[node, MODEL]]
    return before_s + prefill(
        p.sizes[node, FIRST] - cached,
        cached,
        rates[PREFILL],
        rates[PREFILL + 1],
        rates[PREFILL + 2],
    )


@inline
def _choose(
    p: Problem, s: State, graph: Graph, t: Track, device: int, turn: F64
) -> tuple[int, int]:
    """Return (list, place in it) of the node a device starts next; place -1 is none."""
    best = -1
    for k in range(t.counts[device]):
        node = t.ready[device, k]
        if best < 0:
            best = k
            continue
        other = t.ready[device, best]
        if turn[node] < turn[other] or (turn[node] == turn[other] and node < other):
            best = k
    if best >= 0:
        return device, best
    row, best_s = t.ready.shape[0] - 1, INF
    for k in range(t.counts[row]):
        node = t.ready[row, k]
        s.model_s[device, GATHER] = gather_all_seconds(p, graph, t, node, device)
        price_s = _price(p, s, device, node)
        if not price_s < INF:
            continue
        if best < 0 or price_s < best_s or (price_s == best_s and node < t.ready[row, best]):
            best, best_s = k, price_s
    return row, best


@inline
def begin(p: Problem, s: State, graph: Graph, t: Track, device: I64) -> None:
    """Set everything back to how it is now."""
    t.counts[:] = 0
    t.inside[:] = -1
    t.last[:] = -1
    t.blocked[:] = -1
    t.retry_s[:] = INF
    for d in range(p.slots.shape[0]):
        reset(p, s, d)
    for node in range(p.ids.shape[0]):
        t.seconds[node, READY] = max(p.sizes[node, RELEASED], p.now_s)
        t.seconds[node, FINISH] = INF
        t.marks[node, LEFT] = graph.ptr[node + 1] - graph.ptr[node]
        t.marks[node, WHERE], t.marks[node, BEFORE] = ANY, -1
        t.turn[node] = 0.0
        if not t.marks[node, LEFT]:
            _admit(t, device, node, p.now_s)


@inline
def _find_idle(s: State, t: Track, now_s: float) -> int:
    """List in `idle` the devices that may start something now; return how many they are.

    Most are busy, and compiled code that is about to start something on a device has by then
    found its rows in every table, which takes as long as to start a node.
    """
    count, anybody = 0, t.ready.shape[0] - 1
    for d in range(anybody):
        slot = soonest(s, d)
        busy = s.free_at_s[d, slot] > now_s or t.inside[d, slot] >= 0
        if busy or t.counts[d] + t.counts[anybody] == 0:
            continue
        waits = t.blocked[d, 0] >= 0 and now_s < t.retry_s[d]
        if waits and t.blocked[d, 1] == t.counts[d]:  # nothing has come that could go first
            t.retry_s[-1] = min(t.retry_s[-1], t.retry_s[d])
            continue
        t.idle[count] = d
        count += 1
    return count


@inline
def _start(
    p: Problem, s: State, graph: Graph, t: Track, turn: F64, at: tuple[int, float, int]
) -> int:
    """Let a device start what it can; return how many nodes have started."""
    d, now_s, started = at
    while True:
        slot = soonest(s, d)
        if s.free_at_s[d, slot] > now_s or t.inside[d, slot] >= 0:
            return started
        s.model_s[d, FROM] = now_s
        row, place = _choose(p, s, graph, t, d, turn)
        if place < 0:
            return started
        node = int(t.ready[row, place])
        s.model_s[d, GATHER] = gather_all_seconds(p, graph, t, node, d)
        finish_s = start(p, s, t, d, node, now_s)
        if finish_s < p.now_s:
            t.blocked[d, 1] = t.counts[d] if row == d else -1
            return started
        take(t, row, place)
        if finish_s < INF:
            t.marks[node, BEFORE] = t.last[d, slot]
            t.inside[d, slot] = t.last[d, slot] = node
            t.seconds[node, FINISH], t.marks[node, WHERE] = finish_s, d
            t.turn[node] = float(started)
            started += 1


@inline
def start(p: Problem, s: State, t: Track, d: int, node: int, now_s: float) -> float:
    """Start a node on an idle device; return its end, -inf where it waits for memory in use."""
    if t.blocked[d, 0] == node and now_s < t.retry_s[d]:
        t.retry_s[-1] = min(t.retry_s[-1], t.retry_s[d])
        return -INF
    t.blocked[d, 0] = -1
    placed = appraise(p, s, d, node)
    if placed.blocked and placed.finish_s < INF:
        t.blocked[d, 0], t.retry_s[d] = node, next_seconds(s, d, now_s)
        t.retry_s[-1] = min(t.retry_s[-1], t.retry_s[d])
        return -INF
    if placed.finish_s < INF:
        s.begun[0] = 0
        commit(p, s, d, node, placed)
    return placed.finish_s


@inline
def next_s(s: State, t: Track, now_s: float) -> float:
    """See `reference_project.Run.next_s`."""
    at_s, slots = t.retry_s[-1], t.inside.shape[1]
    t.retry_s[-1] = INF
    for d in range(t.inside.shape[0]):
        if slots > 1:
            at_s = min(at_s, s.begins_s[d])  # no later than what is guessed of ends behind it
        for k in range(slots):
            free_s = s.free_at_s[d, k]
            if t.inside[d, k] >= 0 or now_s < free_s < INF:
                at_s = min(at_s, max(free_s, now_s))
    for k in range(t.counts[-1]):
        at_s = min(at_s, t.seconds[t.pending[k], READY])
    return at_s


@inline
def end_all(p: Problem, s: State, t: Track, device: I64, now_s: float) -> None:
    """See `reference_project.Run.end_all`."""
    for d in range(t.inside.shape[0]):
        if t.inside.shape[1] > 1 and s.begins_s[d] <= now_s:
            _settle(p, s, t, d, now_s)
        for k in range(t.inside.shape[1]):
            node = int(t.inside[d, k])
            if node >= 0 and s.free_at_s[d, k] <= now_s:
                t.inside[d, k] = -1
                _release(p, t, device, node, now_s)
    kept, count = 0, t.counts[-1]
    for k in range(count):
        node = int(t.pending[k])
        if t.seconds[node, READY] <= now_s:
            row = device[node] if device[node] >= 0 else t.ready.shape[0] - 1
            t.ready[row, t.counts[row]] = node
            t.counts[row] += 1
        else:
            t.pending[kept] = node
            kept += 1
    t.counts[-1] = kept


@inline
def _settle(p: Problem, s: State, t: Track, device: int, now_s: float) -> None:
    """Let calls begin, and take note of their ends."""
    s.begun[0] = 0
    settle(p, s, device, now_s)
    for i in range(s.begun[0]):
        if s.begun[1 + i] >= 0:
            t.seconds[s.begun[1 + i], FINISH] = s.begun_s[i]


@within
def project(
    p: Problem, s: State, graph: Graph, t: Track, plan: tuple[I64, F64], limit_s: float
) -> None:
    """Run a plan to completion; `t` then has the ends, devices and starts of all nodes."""
    device, turn = plan
    now_s, started = p.now_s, 0
    begin(p, s, graph, t, device)
    while True:
        for k in range(_find_idle(s, t, now_s)):
            started = _start(p, s, graph, t, turn, (int(t.idle[k]), now_s, started))
        now_s = next_s(s, t, now_s)
        if not now_s < INF or now_s - p.now_s > limit_s:
            return
        end_all(p, s, t, device, now_s)


@inline
def _release(p: Problem, t: Track, device: I64, node: int, now_s: float) -> None:
    for edge in range(p.child_ptr[node], p.child_ptr[node + 1]):
        child = int(p.child[edge])
        at_s = t.seconds[node, FINISH] + p.edges[edge, AFTER]
        t.seconds[child, READY] = max(t.seconds[child, READY], at_s)
        t.marks[child, LEFT] -= 1
        if not t.marks[child, LEFT]:
            _admit(t, device, child, now_s)


@jit
def worth(p: Problem, graph: Graph, t: Track, mean: float, tail: float) -> float:
    """See `reference_project.worth`."""
    last_s, latest_s, left_out = np.full(graph.teams, p.now_s), p.now_s, 0
    for node in range(p.ids.shape[0]):
        end_s = t.seconds[node, FINISH]
        if end_s < INF:
            team = graph.team[node]
            last_s[team] = max(last_s[team], end_s)
            latest_s = max(latest_s, end_s)
        else:
            left_out += 1
    value_s = latest_s - p.now_s
    if mean > 0.0 and graph.teams:
        total_s = 0.0
        for team in range(graph.teams):
            total_s = total_s + (last_s[team] - p.now_s)
        value_s = value_s + mean * (total_s / graph.teams)
    if tail > 0.0 and graph.teams:
        at = int(np.ceil(0.95 * graph.teams)) - 1
        value_s = value_s + tail * (np.sort(last_s)[at] - p.now_s)
    return value_s + LEFT_OUT_S * left_out


@jit
def run_out(
    p: Problem, graph: Graph, places: tuple[I64, F64], aims: tuple[float, float]
) -> tuple[F64, F64, I64, float]:
    """Project one plan; return `seconds`, `turn` and `marks` of its track, and its value."""
    t = new_track(p)
    project(p, fresh_state(p), graph, t, places, INF)
    return t.seconds, t.turn, t.marks, worth(p, graph, t, aims[0], aims[1])
