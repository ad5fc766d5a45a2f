"""The horizon term, compiled; read `reference_horizon` for what this computes."""

from typing import NamedTuple

import numpy as np

from fate.domain.snapshot import F64, I64, U8
from fate.policy.kernel.compiled import appraise, evictions, gather_seconds, work_seconds
from fate.policy.kernel.compiled_state import (
    INF,
    State,
    fresh_state,
    inline,
    jit,
    leading,
    shared,
    usable_hit,
    within,
)
from fate.policy.kernel.problem import (
    ELIGIBLE,
    FIRST,
    HELD,
    LOAD,
    MODEL,
    PARKS,
    RESIDENT,
    SHARE,
    TRANSFER,
    UNLOAD,
    Problem,
)


class _Present(NamedTuple):
    """See `reference_horizon.Present`; `gone` [D, M, M] flags what a load evicts."""

    state: State
    free_s: F64
    gone: U8
    swap_s: F64
    stay_s: F64


class _Overlay(NamedTuple):
    """Tentative placements by level, and the walk over the children of each.

    node, device [L] are placed at a level; given_s [L, D] is the time given to siblings;
    overwritten [1] is the slot the first placement takes; walk [L, 4] and sums [L, 3] are the
    state of each level (see the constants below).
    """

    node: I64
    device: I64
    given_s: F64
    overwritten: I64
    walk: I64
    sums: F64


# Columns of `_Overlay.walk` and `_Overlay.sums`.
EDGE, LAST, STRIDE, SEEN = range(4)
END, BEST, TOTAL, GATHER, MOVED = range(5)


@within
def _seconds(
    p: Problem, present: _Present, over: _Overlay, count: int, node: int, device: int
) -> float:
    s, model, best = present.state, p.ids[node, MODEL], 0
    resident = s.store[device, model, RESIDENT] != 0
    lost = -1
    if count > 0 and over.device[0] == device and p.ids[over.node[0], MODEL] == model:
        lost = over.overwritten[0]
    if p.cached[device, -1]:
        best = leading(p, s, device, node)
    for k in range(p.content.shape[2]):
        content = s.content[device, model, k, HELD]
        if content >= 0 and k != lost:
            best = max(best, shared(p, node, content))
    for i in range(count):
        if over.device[i] != device:
            continue
        other = over.node[i]
        if p.ids[other, MODEL] == model:
            resident = True
            best = max(best, shared(p, node, p.contents_now + other))
        elif resident and present.gone[device, p.ids[other, MODEL], model]:
            resident = False
            if not p.store[device, model, PARKS]:
                best = 0
    swap_s = 0.0 if resident else present.swap_s[device, model]
    return swap_s + work_seconds(p, node, device, usable_hit(float(best), p.sizes[node, FIRST]))


@within
def _best_device(
    p: Problem, present: _Present, over: _Overlay, count: int, child: int, finish_s: float
) -> tuple[float, float, int]:
    source, at = int(over.node[count - 1]), int(over.device[count - 1])
    best_s, best_wait_s, best = INF, 0.0, -1
    for device in range(p.rates.shape[0]):
        wait_s = 0.0
        if p.weights.reachability:
            if not p.cells[child, device, ELIGIBLE]:
                continue
            wait_s = max(0.0, present.free_s[device] - finish_s) + over.given_s[count, device]
        gather_s = gather_seconds(p, source, at, device)
        gather_s = p.cells[child, device, TRANSFER] + gather_s
        touched = False
        for i in range(count):
            touched = touched or over.device[i] == device
        if touched:
            own_s = _seconds(p, present, over, count, child, device)
        else:
            own_s = present.stay_s[child, device]
        end_s = wait_s + (own_s + gather_s)
        if end_s < best_s:
            best_s, best_wait_s, best = end_s, wait_s, device
    return best_s, best_wait_s, best


@within
def _enter(p: Problem, over: _Overlay, level: int, finish_s: float) -> None:
    """Begin the walk over the children of what is placed at `level - 1`."""
    node = over.node[level - 1]
    first, last = p.child_ptr[node], p.child_ptr[node + 1]
    over.walk[level, EDGE] = first
    over.walk[level, LAST] = last if level <= p.weights.depth else first
    over.walk[level, STRIDE] = max(1, (last - first) // p.weights.branch)
    over.walk[level, SEEN] = 0
    over.sums[level, END], over.sums[level, TOTAL] = finish_s, 0.0
    over.sums[level, MOVED] = 0.0
    over.given_s[level, :] = 0.0


@inline
def _mean(p: Problem, node: int, seen: int, sums: F64) -> float:
    children = p.child_ptr[node + 1] - p.child_ptr[node]
    moved_s = sums[MOVED] * (1.0 + p.weights.spread * (children - 1))
    return (sums[TOTAL] + moved_s) / seen if seen > 0 else 0.0


@within
def _below(p: Problem, present: _Present, over: _Overlay, finish_s: float) -> float:
    """The reference's recursion as a loop: numba cannot load a recursive function from a cache."""
    level = int(np.int64(1))  # typed: a literal would compile every callee again
    _enter(p, over, level, finish_s)
    while True:
        walk, sums = over.walk[level], over.sums[level]
        if walk[EDGE] >= walk[LAST] or walk[SEEN] == p.weights.branch:
            below_s = _mean(p, int(over.node[level - 1]), walk[SEEN], sums)
            level -= 1
            if level == 0:
                return below_s
            walk, sums = over.walk[level], over.sums[level]
            share = p.edges[walk[EDGE], SHARE]
            own_s = (sums[BEST] - sums[GATHER]) + p.weights.gamma * below_s
            sums[TOTAL] = sums[TOTAL] + share * own_s
            sums[MOVED] = sums[MOVED] + sums[GATHER]
            walk[EDGE] += walk[STRIDE]
            continue
        walk[SEEN] += 1
        child = int(p.child[walk[EDGE]])
        best_s, wait_s, device = _best_device(p, present, over, level, child, sums[END])
        if device < 0:
            walk[EDGE] += walk[STRIDE]
            continue
        over.given_s[level, device] = over.given_s[level, device] + (best_s - wait_s)
        over.node[level], over.device[level] = child, device
        parent, at = int(over.node[level - 1]), int(over.device[level - 1])
        sums[BEST], sums[GATHER] = best_s, gather_seconds(p, parent, at, device)
        level += 1
        _enter(p, over, level, sums[END] + best_s)


@jit
def _present(p: Problem, s: State, over: _Overlay) -> _Present:
    devices, models = p.rates.shape[:2]
    nodes = p.ids.shape[0]
    present = _Present(
        s,
        np.zeros(devices),
        np.zeros((devices, models, models), np.uint8),
        np.zeros((devices, models)),
        np.zeros((nodes, devices)),
    )
    for device in range(devices):
        free_s = INF
        for k in range(s.free_at_s.shape[1]):
            free_s = min(free_s, s.free_at_s[device, k])
        present.free_s[device] = max(free_s, p.now_s)
        for model in range(models):
            s.gone[0] = 0
            if not s.store[device, model, RESIDENT] and not evictions(p, s, device, model, INF):
                present.swap_s[device, model] = INF
                continue
            seconds = 0.0
            for i in range(s.gone[0]):
                present.gone[device, model, s.gone[1 + i]] = 1
                seconds = seconds + p.rates[device, s.gone[1 + i], UNLOAD]
            present.swap_s[device, model] = seconds + p.rates[device, model, LOAD]
    for node in range(p.frontier, nodes):
        for device in range(devices):
            present.stay_s[node, device] = _seconds(
                p, present, over, int(np.int64(0)), node, device
            )
    return present


@jit
def horizon(p: Problem) -> F64:
    """See `reference_horizon.horizon`."""
    devices, levels = p.rates.shape[0], p.weights.depth + 2
    future = np.zeros((p.frontier, devices))
    if p.weights.depth < 1 or p.child.shape[0] == 0:
        return future
    s = fresh_state(p)
    over = _Overlay(
        np.zeros(levels, np.int64),
        np.zeros(levels, np.int64),
        np.zeros((levels, devices)),
        np.zeros(1, np.int64),
        np.zeros((levels, 4), np.int64),
        np.zeros((levels, 5)),
    )
    present, below = _present(p, s, over), np.zeros(devices)
    for node in range(p.frontier):
        least_s = INF
        for device in range(devices):
            placed = appraise(p, s, device, node)
            finish_s, sequence = placed.finish_s, placed.sequence
            below[device] = INF
            if finish_s < INF:
                over.node[0], over.device[0], over.overwritten[0] = node, device, sequence
                below[device] = _below(p, present, over, finish_s)
                least_s = min(least_s, below[device])
        for device in range(devices):
            if below[device] < INF:
                future[node, device] = p.weights.lam * (below[device] - least_s)
    return future
