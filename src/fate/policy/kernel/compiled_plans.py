"""Greedy plans and the local search, compiled; read `reference_plans` for what this computes."""

from typing import NamedTuple

import numpy as np

from fate.domain.snapshot import F64, I64, U8
from fate.policy.kernel.compiled import (
    INF,
    State,
    appraise,
    device_value,
    fresh_state,
    jit,
    plan_value,
    prefill,
    run,
    work_seconds,
)
from fate.policy.kernel.problem import (
    ELIGIBLE,
    FIRST,
    INSTANCE,
    MODEL,
    MUST,
    PREFILL,
    RUNNING,
    TAIL,
    TRANSFER,
    Problem,
)
from fate.policy.kernel.reference_plans import SLACK


@jit
def _runs(p: Problem, node: int, device: int) -> bool:
    if not p.cells[node, device, ELIGIBLE]:
        return False
    for slot in range(p.slots.shape[1]):
        if p.slots[device, slot, RUNNING] == p.ids[node, INSTANCE]:
            return True
    return False


@jit
def _holds(p: Problem, home: I64, node: int, device: int) -> bool:
    if _runs(p, node, device):
        return True
    for other in range(p.frontier):
        if (
            home[other] == device
            and other != node
            and p.ids[other, INSTANCE] == p.ids[node, INSTANCE]
        ):
            return True
    return False


@jit
def _may_hold(p: Problem, home: I64, node: int, device: int) -> bool:
    devices = p.rates.shape[0]
    if p.weights.limit >= devices or _holds(p, home, node, device):
        return True
    held = 0
    for other in range(devices):
        if _holds(p, home, node, other):
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


@jit
def _earliest(p: Problem, s: State, home: I64, node: int, future: F64) -> int:
    best_s, best = INF, -1
    for device in range(p.rates.shape[0]):
        finish_s = appraise(p, s, device, node)[0]
        if not finish_s < INF or not _may_hold(p, home, node, device):
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
            if _may_hold(p, home, node, device) and run(p, s, device, node) < INF:
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


@jit
def _least(p: Problem, ends: F64, home: I64) -> tuple[int, int]:
    best_s, best, where = INF, -1, -1
    for node in range(p.frontier):
        if home[node] >= 0:
            continue
        for device in range(ends.shape[1]):
            if ends[node, device] < best_s and _may_hold(p, home, node, device):
                best_s, best, where = ends[node, device], node, device
    return best, where


@jit
def min_min(p: Problem, future: F64) -> tuple[I64, I64]:
    """See `reference_plans.greedy`."""
    devices, s = p.rates.shape[0], fresh_state(p)
    orders, lengths = np.full((devices, p.frontier), -1), np.zeros(devices, np.int64)
    home, ends = np.full(p.frontier, -1), np.zeros((p.frontier, devices))
    for node in range(p.frontier):
        for device in range(devices):
            ends[node, device] = appraise(p, s, device, node)[0] + future[node, device]
    while True:
        best, where = _least(p, ends, home)
        if best < 0:
            return orders, lengths
        run(p, s, where, best)
        orders[where, lengths[where]] = best
        lengths[where] += 1
        home[best] = where
        for node in range(p.frontier):
            if home[node] < 0:
                ends[node, where] = appraise(p, s, where, node)[0] + future[node, where]


@jit
def _cheapest(p: Problem, s: State, home: I64, device: int) -> int:
    best_s, best = INF, -1
    for node in range(p.frontier):
        if home[node] >= 0:
            continue
        finish_s, _, _, cached, _, swap_s = appraise(p, s, device, node)
        if not finish_s < INF or not _may_hold(p, home, node, device):
            continue
        price_s = swap_s + p.cells[node, device, TRANSFER]
        price_s = price_s + prefill(
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
        first_s, device = INF, np.int64(-1)  # typed: a literal would compile every callee again
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


@jit
def _must_lead(p: Problem, order: I64, length: int) -> bool:
    for k in range(1, length):
        if p.ids[order[k], MUST] and not p.ids[order[k - 1], MUST]:
            return False
    return True


@jit
def _drop(order: I64, length: int, node: int) -> int:
    """Remove a node from a list, return its new length."""
    kept = 0
    for k in range(length):
        if order[k] != node:
            order[kept] = order[k]
            kept += 1
    return kept


@jit
def _insert(order: I64, length: int, node: int, position: int) -> int:
    """Insert a node into a list, return its new length."""
    for k in range(length, position, -1):
        order[k] = order[k - 1]
    order[position] = node
    return length + 1


class _Trial(NamedTuple):
    """The lists a move proposes; only those of `touched` devices may differ from the plan's."""

    orders: I64
    lengths: I64
    touched: U8


@jit
def _reassign(p: Problem, t: _Trial, home: I64, node: int, device: int, position: int) -> bool:
    source = home[node]
    if (
        device == source
        or not p.cells[node, device, ELIGIBLE]
        or not _may_hold(p, home, node, device)
    ):
        return False
    t.lengths[source] = _drop(t.orders[source], int(t.lengths[source]), node)
    position %= t.lengths[device] + 1
    t.lengths[device] = _insert(t.orders[device], t.lengths[device], node, position)
    t.touched[source] = t.touched[device] = 1
    return True


@jit
def _swap(p: Problem, t: _Trial, home: I64, left: int, right: int) -> bool:
    source, target = home[left], home[right]
    if left == right:
        return False
    if source != target:
        if not (p.cells[left, target, ELIGIBLE] and p.cells[right, source, ELIGIBLE]):
            return False
        if p.ids[left, INSTANCE] != p.ids[right, INSTANCE] and not (
            _may_hold(p, home, left, target) and _may_hold(p, home, right, source)
        ):
            return False
    here, there = 0, 0
    for k in range(t.lengths[source]):
        if t.orders[source, k] == left:
            here = k
    for k in range(t.lengths[target]):
        if t.orders[target, k] == right:
            there = k
    t.orders[source, here], t.orders[target, there] = right, left
    t.touched[source] = t.touched[target] = 1
    return True


@jit
def _reorder(t: _Trial, home: I64, node: int, position: int) -> bool:
    device, before = home[node], 0
    for k in range(t.lengths[device]):
        if t.orders[device, k] == node:
            before = k
    length = _drop(t.orders[device], int(t.lengths[device]), node)
    position %= length + 1
    _insert(t.orders[device], length, node, position)
    t.touched[device] = 1
    return position != before


@jit
def _gather(p: Problem, t: _Trial, home: I64, node: int, device: int, position: int) -> bool:
    devices, running = p.rates.shape[0], 0
    for other in range(devices):
        if _runs(p, node, other):
            running += 1
    limit = p.weights.limit
    if limit < devices and not _runs(p, node, device) and running >= limit:
        return False
    if not p.cells[node, device, ELIGIBLE]:
        return False
    for chunk in range(p.frontier):
        if home[chunk] >= 0 and p.ids[chunk, INSTANCE] == p.ids[node, INSTANCE]:
            source = home[chunk]
            t.lengths[source] = _drop(t.orders[source], int(t.lengths[source]), chunk)
            t.touched[source] = 1
    position %= t.lengths[device] + 1
    t.touched[device] = 1
    for chunk in range(p.frontier):
        if home[chunk] >= 0 and p.ids[chunk, INSTANCE] == p.ids[node, INSTANCE]:
            t.lengths[device] = _insert(t.orders[device], t.lengths[device], chunk, position)
            position += 1
    return True


@jit
def _propose(p: Problem, t: _Trial, home: I64, placed: I64, move: I64) -> bool:
    devices, kind = p.rates.shape[0], move[0] % 4
    node, other = int(placed[move[1] % placed.shape[0]]), int(placed[move[2] % placed.shape[0]])
    if kind == 0:
        return _reassign(p, t, home, node, move[2] % devices, move[3])
    if kind == 1:
        return _swap(p, t, home, node, other)
    if kind == 2:
        return _reorder(t, home, node, move[3])
    return _gather(p, t, home, node, move[2] % devices, move[3])


@jit
def _copy(source: I64, lengths: I64, to: I64, to_lengths: I64, touched: U8) -> None:
    """Copy the lists of the touched devices."""
    for device in range(lengths.shape[0]):
        if touched[device]:
            to_lengths[device] = lengths[device]
            for k in range(lengths[device]):
                to[device, k] = source[device, k]


class _Value(NamedTuple):
    """What the plan's devices are worth, and what those of the trial are."""

    latest_s: F64
    total_s: F64
    new_latest_s: F64
    new_total_s: F64


@jit
def _weigh(p: Problem, s: State, t: _Trial, value: _Value, future: F64, best_s: float) -> float:
    """Replay the touched devices, return J; inf where it is worse, or must-start does not lead."""
    spare_s = best_s + SLACK * max(1.0, best_s)
    for d in range(t.lengths.shape[0]):
        if not t.touched[d]:
            spare_s = spare_s - value.total_s[d]
    for d in range(t.lengths.shape[0]):
        if not t.touched[d]:
            continue
        if not _must_lead(p, t.orders[d], t.lengths[d]):
            return INF
        latest_s, total_s = device_value(p, s, d, (t.orders[d], t.lengths[d]), future, spare_s)
        if not latest_s < INF:
            return INF
        value.new_latest_s[d], value.new_total_s[d] = latest_s, total_s
        spare_s = spare_s - total_s
    return plan_value(p, value.new_latest_s, value.new_total_s)


@jit
def local_search(
    p: Problem, orders: I64, lengths: I64, future: F64, moves: I64
) -> tuple[I64, I64, float]:
    """See `reference_plans.local_search`."""
    devices, s = p.rates.shape[0], fresh_state(p)
    orders, lengths = orders.copy(), lengths.copy()
    t = _Trial(orders.copy(), lengths.copy(), np.zeros(devices, np.uint8))
    home, count = np.full(p.frontier, -1), 0
    value = _Value(np.zeros(devices), np.zeros(devices), np.zeros(devices), np.zeros(devices))
    for d in range(devices):
        latest_s, total_s = device_value(p, s, d, (orders[d], lengths[d]), future, INF)
        value.latest_s[d] = value.new_latest_s[d] = latest_s
        value.total_s[d] = value.new_total_s[d] = total_s
        for k in range(lengths[d]):
            home[orders[d, k]] = d
            count += 1
    placed = np.flatnonzero(home >= 0)
    best_s = plan_value(p, value.latest_s, value.total_s)
    for i in range(moves.shape[0] if count > 0 else 0):
        t.touched[:] = 0
        changed = _propose(p, t, home, placed, moves[i])
        value_s = _weigh(p, s, t, value, future, best_s) if changed else INF
        if changed and value_s <= best_s and value_s < INF:
            best_s = value_s
            _copy(t.orders, t.lengths, orders, lengths, t.touched)
            for d in range(devices):
                if t.touched[d]:
                    value.latest_s[d] = value.new_latest_s[d]
                    value.total_s[d] = value.new_total_s[d]
                    for k in range(lengths[d]):
                        home[orders[d, k]] = d
        else:
            _copy(orders, lengths, t.orders, t.lengths, t.touched)
            for d in range(devices):
                if t.touched[d]:
                    value.new_latest_s[d] = value.latest_s[d]
                    value.new_total_s[d] = value.total_s[d]
    return orders, lengths, best_s
