"""Greedy plans, compiled; read `reference_plans` for what this computes."""

import numpy as np

from fate.domain.snapshot import F64, I64
from fate.policy.kernel.compiled import appraise, prefill, run, work_seconds
from fate.policy.kernel.compiled_state import INF, State, fresh_state, inline, jit, within
from fate.policy.kernel.problem import (
    ELIGIBLE,
    FIRST,
    INSTANCE,
    MODEL,
    PREFILL,
    RUNNING,
    TAIL,
    Problem,
)
from fate.policy.kernel.reference_plans import MAX_MIN, SUFFERAGE, Rule


@within
def runs(p: Problem, node: int, device: int) -> bool:
    """Whether a device runs a chunk of the node's instance now."""
    if not p.cells[node, device, ELIGIBLE]:
        return False
    for slot in range(p.slots.shape[1]):
        if p.slots[device, slot, RUNNING] == p.ids[node, INSTANCE]:
            return True
    return False


@within
def holds(p: Problem, home: I64, node: int, device: int) -> bool:
    """See `reference_plans.holds`."""
    if runs(p, node, device):
        return True
    for other in range(p.frontier):
        if (
            home[other] == device
            and other != node
            and p.ids[other, INSTANCE] == p.ids[node, INSTANCE]
        ):
            return True
    return False


@within
def may_hold(p: Problem, home: I64, node: int, device: int) -> bool:
    """See `reference_plans.may_hold`."""
    devices = p.rates.shape[0]
    if p.weights.limit >= devices or holds(p, home, node, device):
        return True
    held = 0
    for other in range(devices):
        if holds(p, home, node, other):
            held += 1
    return held < p.weights.limit


@jit
def _rank_order(p: Problem) -> I64:
    rank = np.full(p.frontier, -INF)
    order, count = np.zeros(p.frontier, np.int64), 0
    for node in range(p.frontier):
        own_s = INF
        for device in range(p.rates.shape[0]):
            if p.cells[node, device, ELIGIBLE]:
                own_s = min(own_s, work_seconds(p, node, device, 0.0))
        if own_s < INF:
            rank[node] = p.sizes[node, TAIL] + own_s
            at = count
            while at > 0 and rank[order[at - 1]] < rank[node]:
                order[at] = order[at - 1]
                at -= 1
            order[at] = node
            count += 1
    return order[:count]


@within
def _earliest(p: Problem, s: State, home: I64, node: int, future: F64) -> int:
    best_s, best = INF, -1
    for device in range(p.rates.shape[0]):
        finish_s = appraise(p, s, device, node).finish_s
        if not finish_s < INF or not may_hold(p, home, node, device):
            continue
        end_s = finish_s + future[node, device]
        if end_s < best_s:
            best_s, best = end_s, device
    return best


@jit
def extend(p: Problem, given: I64, counts: I64, future: F64) -> tuple[I64, I64]:
    """See `reference_plans.extend`."""
    devices, s = p.rates.shape[0], fresh_state(p)
    orders, lengths = np.full((devices, p.frontier), -1), np.zeros(devices, np.int64)
    home = np.full(p.frontier, -1)
    for device in range(devices):
        for k in range(counts[device]):
            node = int(given[device, k])
            if may_hold(p, home, node, device) and run(p, s, device, node) < INF:
                orders[device, lengths[device]] = node
                lengths[device] += 1
                home[node] = device
    for node in _rank_order(p):
        if home[node] >= 0:
            continue
        best = _earliest(p, s, home, node, future)
        if best >= 0:
            run(p, s, best, node)
            orders[best, lengths[best]] = node
            lengths[best] += 1
            home[node] = best
    return orders, lengths


@inline
def _urgency(rule: Rule, first_s: float, second_s: float) -> float:
    if rule == SUFFERAGE:
        return second_s - first_s
    return first_s if rule == MAX_MIN else -first_s


@within
def _most_urgent(p: Problem, ends: F64, home: I64, rule: Rule) -> tuple[int, int]:
    most, best, where = -INF, -1, -1
    for node in range(p.frontier):
        if home[node] >= 0:
            continue
        first_s, second_s, soonest = INF, INF, -1
        for device in range(ends.shape[1]):
            end_s = ends[node, device]
            if not end_s < second_s or not may_hold(p, home, node, device):
                continue
            if end_s < first_s:
                first_s, second_s, soonest = end_s, first_s, device
            else:
                second_s = end_s
        if soonest < 0:
            continue
        urgency = _urgency(rule, first_s, second_s)
        if urgency > most:
            most, best, where = urgency, node, soonest
    return best, where


@jit
def batch_mode(p: Problem, future: F64, rule: Rule) -> tuple[I64, I64]:
    """See `reference_plans.greedy`."""
    devices, s = p.rates.shape[0], fresh_state(p)
    orders, lengths = np.full((devices, p.frontier), -1), np.zeros(devices, np.int64)
    home, ends = np.full(p.frontier, -1), np.zeros((p.frontier, devices))
    for node in range(p.frontier):
        for device in range(devices):
            ends[node, device] = appraise(p, s, device, node).finish_s + future[node, device]
    while True:
        best, where = _most_urgent(p, ends, home, rule)
        if best < 0:
            return orders, lengths
        run(p, s, where, best)
        orders[where, lengths[where]] = best
        lengths[where] += 1
        home[best] = where
        for node in range(p.frontier):
            if home[node] < 0:
                ends[node, where] = appraise(p, s, where, node).finish_s + future[node, where]


@within
def _cheapest(p: Problem, s: State, home: I64, device: int) -> int:
    best_s, best = INF, -1
    for node in range(p.frontier):
        if home[node] >= 0:
            continue
        placed = appraise(p, s, device, node)
        finish_s, cached, before_s = placed.finish_s, placed.cached, placed.before_s
        if not finish_s < INF or not may_hold(p, home, node, device):
            continue
        price_s = before_s + prefill(
            p.sizes[node, FIRST] - cached,
            cached,
            p.rates[device, p.ids[node, MODEL], PREFILL + 0],
            p.rates[device, p.ids[node, MODEL], PREFILL + 1],
            p.rates[device, p.ids[node, MODEL], PREFILL + 2],
        )
        if price_s < best_s:
            best_s, best = price_s, node
    return best


@jit
def idle_affinity(p: Problem) -> tuple[I64, I64]:
    """See `reference_plans.greedy`."""
    devices, s = p.rates.shape[0], fresh_state(p)
    orders, lengths = np.full((devices, p.frontier), -1), np.zeros(devices, np.int64)
    home, done = np.full(p.frontier, -1), np.zeros(devices, np.uint8)
    for _ in range(p.frontier + devices):
        first_s, device = INF, int(np.int64(-1))  # typed: a literal compiles callees again
        for d in range(devices):
            free_s = INF
            for k in range(s.free_at_s.shape[1]):
                free_s = min(free_s, s.free_at_s[d, k])
            if not done[d] and (device < 0 or max(free_s, p.now_s) < first_s):
                first_s, device = max(free_s, p.now_s), d
        if device < 0:
            break
        node = _cheapest(p, s, home, device)
        if node < 0:
            done[device] = 1
            continue
        run(p, s, device, node)
        orders[device, lengths[device]] = node
        lengths[device] += 1
        home[node] = device
    return orders, lengths
