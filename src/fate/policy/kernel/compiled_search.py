"""The local search, compiled; read `reference_plans.local_search` for what this computes."""

from typing import NamedTuple

import numpy as np

from fate.domain.snapshot import F64, I64, U8
from fate.policy.kernel.compiled import device_value, plan_value
from fate.policy.kernel.compiled_plans import holds, may_hold, runs
from fate.policy.kernel.compiled_state import INF, State, fresh_state, jit, within
from fate.policy.kernel.problem import ELIGIBLE, INSTANCE, MODEL, MUST, Problem
from fate.policy.kernel.reference_plans import SLACK


@within
def _must_lead(p: Problem, order: I64, length: int) -> bool:
    for k in range(1, length):
        if p.ids[order[k], MUST] and not p.ids[order[k - 1], MUST]:
            return False
    return True


@within
def _drop(order: I64, length: int, node: int) -> int:
    """Remove a node from a list, return its new length."""
    kept = 0
    for k in range(length):
        if order[k] != node:
            order[kept] = order[k]
            kept += 1
    return kept


@within
def _insert(order: I64, length: int, node: int, position: int) -> int:
    """Insert a node into a list, return its new length."""
    for k in range(length, position, -1):
        order[k] = order[k - 1]
    order[position] = node
    return length + 1


class _Trial(NamedTuple):
    """The lists a move proposes; only those of `touched` devices may differ from the plan's.

    `block` [F] is room for the nodes that a move takes along.
    """

    orders: I64
    lengths: I64
    touched: U8
    block: I64


@within
def _reassign(p: Problem, t: _Trial, home: I64, node: int, device: int, position: int) -> bool:
    source = home[node]
    if (
        device == source
        or not p.cells[node, device, ELIGIBLE]
        or not may_hold(p, home, node, device)
    ):
        return False
    t.lengths[source] = _drop(t.orders[source], int(t.lengths[source]), node)
    position %= t.lengths[device] + 1
    t.lengths[device] = _insert(t.orders[device], t.lengths[device], node, position)
    t.touched[source] = t.touched[device] = 1
    return True


@within
def _swap(p: Problem, t: _Trial, home: I64, left: int, right: int) -> bool:
    source, target = home[left], home[right]
    if left == right:
        return False
    if source != target:
        if not (p.cells[left, target, ELIGIBLE] and p.cells[right, source, ELIGIBLE]):
            return False
        if p.ids[left, INSTANCE] != p.ids[right, INSTANCE] and not (
            may_hold(p, home, left, target) and may_hold(p, home, right, source)
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


@within
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


@within
def _may_gather(p: Problem, node: int, device: int) -> bool:
    devices, running = p.rates.shape[0], 0
    if not p.cells[node, device, ELIGIBLE]:
        return False
    for other in range(devices):
        if runs(p, node, other):
            running += 1
    limit = p.weights.limit
    return limit >= devices or runs(p, node, device) or running < limit


@within
def _lift(p: Problem, t: _Trial, home: I64, node: int) -> None:
    """Take all chunks of the node's instance out of the lists."""
    for chunk in range(p.frontier):
        if home[chunk] >= 0 and p.ids[chunk, INSTANCE] == p.ids[node, INSTANCE]:
            source = home[chunk]
            t.lengths[source] = _drop(t.orders[source], int(t.lengths[source]), chunk)
            t.touched[source] = 1


@within
def _lay(p: Problem, t: _Trial, home: I64, node: int, device: int, position: int) -> None:
    """Put all chunks of the node's instance into a list, in index order."""
    t.touched[device] = 1
    for chunk in range(p.frontier):
        if home[chunk] >= 0 and p.ids[chunk, INSTANCE] == p.ids[node, INSTANCE]:
            t.lengths[device] = _insert(t.orders[device], t.lengths[device], chunk, position)
            position += 1


@within
def _gather(p: Problem, t: _Trial, home: I64, node: int, device: int, position: int) -> bool:
    if not _may_gather(p, node, device):
        return False
    _lift(p, t, home, node)
    _lay(p, t, home, node, device, position % (t.lengths[device] + 1))
    return True


@within
def _stand(p: Problem, t: _Trial, home: I64, node: int, other: int) -> int:
    """Return how many calls of neither instance stand before the node in its list."""
    device, count = home[node], 0
    for k in range(t.lengths[device]):
        call = t.orders[device, k]
        if call == node:
            break
        instance = p.ids[call, INSTANCE]
        if instance != p.ids[node, INSTANCE] and instance != p.ids[other, INSTANCE]:
            count += 1
    return count


@within
def _exchange(p: Problem, t: _Trial, home: I64, left: int, right: int) -> bool:
    source, target = int(home[left]), int(home[right])
    if source == target or p.ids[left, INSTANCE] == p.ids[right, INSTANCE]:
        return False
    if not (_may_gather(p, left, target) and _may_gather(p, right, source)):
        return False
    here, there = _stand(p, t, home, left, right), _stand(p, t, home, right, left)
    _lift(p, t, home, left)
    _lift(p, t, home, right)
    _lay(p, t, home, right, source, here)
    _lay(p, t, home, left, target, there)
    return True


@within
def _may_leave(p: Problem, home: I64, node: int, device: int) -> bool:
    devices, held = p.rates.shape[0], 0
    if not p.cells[node, device, ELIGIBLE]:
        return False
    if p.weights.limit >= devices:
        return True
    for other in range(devices):
        if runs(p, node, other) or (other != home[node] and holds(p, home, node, other)):
            if other == device:
                return True
            held += 1
    return held < p.weights.limit


@within
def _regroup(p: Problem, t: _Trial, home: I64, node: int, device: int, position: int) -> bool:
    source, model, count = home[node], p.ids[node, MODEL], 0
    for k in range(t.lengths[source]):
        call = int(t.orders[source, k])
        if p.ids[call, MODEL] == model:
            if device != source and not _may_leave(p, home, call, device):
                return False
            t.block[count] = call
            count += 1
    for i in range(count):
        t.lengths[source] = _drop(t.orders[source], int(t.lengths[source]), int(t.block[i]))
    position %= t.lengths[device] + 1
    for i in range(count):
        t.lengths[device] = _insert(
            t.orders[device], t.lengths[device], int(t.block[i]), position + i
        )
    t.touched[source] = t.touched[device] = 1
    return True


@within
def _propose(p: Problem, t: _Trial, home: I64, placed: I64, move: I64) -> bool:
    devices, kind = p.rates.shape[0], move[0] % 6
    node, other = int(placed[move[1] % placed.shape[0]]), int(placed[move[2] % placed.shape[0]])
    if kind == 0:
        return _reassign(p, t, home, node, move[2] % devices, move[3])
    if kind == 1:
        return _swap(p, t, home, node, other)
    if kind == 2:
        return _reorder(t, home, node, move[3])
    if kind == 3:
        return _gather(p, t, home, node, move[2] % devices, move[3])
    if kind == 4:
        return _exchange(p, t, home, node, other)
    return _regroup(p, t, home, node, move[2] % devices, move[3])


@within
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


@within
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
    block = np.zeros(p.frontier, np.int64)
    t = _Trial(orders.copy(), lengths.copy(), np.zeros(devices, np.uint8), block)
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
