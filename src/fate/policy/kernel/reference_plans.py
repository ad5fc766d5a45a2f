"""Greedy plans and the local search, in plain Python: the specification of `compiled`."""

from math import inf
from typing import Final, TypeAlias

from fate.cost.terms import prefill_seconds
from fate.policy.kernel.problem import Plain
from fate.policy.kernel.reference import (
    Future,
    Orders,
    appraise,
    commit,
    device_value,
    plan_value,
    work_seconds,
)
from fate.policy.kernel.reference_state import Bench, benches

#: How a greedy plan picks its next (call, device), see `greedy`.
Rule: TypeAlias = int
EFT: Final[Rule] = 0
MIN_MIN: Final[Rule] = 1
IDLE_AFFINITY: Final[Rule] = 2
MAX_MIN: Final[Rule] = 3
SUFFERAGE: Final[Rule] = 4

#: (latest end, other cost) of every device.
Values: TypeAlias = list[tuple[float, float]]
#: A replay is cut short only when its plan is worse by more than any rounding.
SLACK: Final = 1e-9


def no_future(p: Plain) -> Future:
    """Return a horizon term of zero."""
    return [[0.0] * p.devices for _ in range(p.frontier)]


def rank_order(p: Plain) -> list[int]:
    """Return the frontier by upward rank, longest first; calls no device may run are left out.

    A call's rank is the longest path below it plus its own work, nothing cached, on the device
    that is quickest at it.
    """
    rank: dict[int, float] = {}
    for node in range(p.frontier):
        own_s = inf
        for device in range(p.devices):
            if p.eligible[node][device]:
                own_s = min(own_s, work_seconds(p, node, device, 0.0))
        if own_s < inf:
            rank[node] = p.tail_s[node] + own_s
    return sorted(rank, key=lambda node: (-rank[node], node))


def runs(p: Plain, node: int, device: int) -> bool:
    """Whether a device runs a chunk of the node's instance now."""
    return bool(p.eligible[node][device]) and p.instance[node] in p.running_instance[device]


def holds(p: Plain, home: list[int], node: int, device: int) -> bool:
    """Whether a device runs a chunk of the node's instance, or is to run another one."""
    if runs(p, node, device):
        return True
    return any(
        home[other] == device and other != node and p.instance[other] == p.instance[node]
        for other in range(p.frontier)
    )


def may_hold(p: Plain, home: list[int], node: int, device: int) -> bool:
    """Whether the shard limit lets `device` hold this chunk, `home` being where the others are.

    A device that runs or holds another chunk of the instance always may; a further device may
    while fewer than `limit` do.
    """
    if p.weights.limit >= p.devices or holds(p, home, node, device):
        return True
    return sum(holds(p, home, node, other) for other in range(p.devices)) < p.weights.limit


def greedy(p: Plain, future: Future, rule: Rule) -> Orders:
    """Return a plan built call by call, over all devices, busy ones too.

    EFT: calls in rank order, each where it ends first. IDLE_AFFINITY: the device that is free first
    takes the call with the least to load, gather and prefill. The others put the most urgent call
    where it ends first: MIN_MIN the one that ends first there, MAX_MIN the one that ends last,
    SUFFERAGE the one that would end later by most on its second best device. Horizon regret
    counts as seconds in all but IDLE_AFFINITY.
    """
    if rule == EFT:
        return extend(p, [[] for _ in range(p.devices)], future)
    return _idle_affinity(p) if rule == IDLE_AFFINITY else _batch_mode(p, future, rule)


def _put(p: Plain, bench: Bench, device: int, node: int) -> bool:
    placed = appraise(p, bench, device, node)
    if placed is None:
        return False
    commit(p, bench, node, placed)
    return True


def extend(p: Plain, given: Orders, future: Future) -> Orders:
    """Return the given lists with every call they lack put where it ends first, in rank order.

    Calls that may no longer run where the lists have them are put anew like the others.
    """
    state, orders = benches(p), [list[int]() for _ in range(p.devices)]
    home = [-1] * p.frontier
    for device, order in enumerate(given):
        for node in order:
            if may_hold(p, home, node, device) and _put(p, state[device], device, node):
                orders[device].append(node)
                home[node] = device
    for node in rank_order(p) if p.frontier > 1 else range(p.frontier):
        if home[node] >= 0:
            continue
        best_s, best, chosen = inf, -1, None
        for device in range(p.devices):
            placed = appraise(p, state[device], device, node)
            if placed is None or not may_hold(p, home, node, device):
                continue
            end_s = placed.finish_s + future[node][device]
            if end_s < best_s:
                best_s, best, chosen = end_s, device, placed
        if chosen is not None:
            commit(p, state[best], node, chosen)
            orders[best].append(node)
            home[node] = best
    return orders


def _batch_mode(p: Plain, future: Future, rule: Rule) -> Orders:
    state, orders = benches(p), [list[int]() for _ in range(p.devices)]
    home = [-1] * p.frontier
    left = list(range(p.frontier))
    ends = [[_end(p, state[d], d, n, future) for d in range(p.devices)] for n in left]
    while True:
        most, best, where = -inf, -1, -1
        for node in left:
            first_s, second_s, device = _two_best(p, home, node, ends[node])
            if device >= 0 and _urgency(rule, first_s, second_s) > most:
                most, best, where = _urgency(rule, first_s, second_s), node, device
        if best < 0:
            return orders
        _put(p, state[where], where, best)
        orders[where].append(best)
        home[best] = where
        left.remove(best)
        for node in left:
            ends[node][where] = _end(p, state[where], where, node, future)


def _two_best(p: Plain, home: list[int], node: int, ends: list[float]) -> tuple[float, float, int]:
    """Return a call's earliest end, its second earliest, and the device of the first (-1: none)."""
    first_s, second_s, best = inf, inf, -1
    for device, end_s in enumerate(ends):
        if not end_s < second_s or not may_hold(p, home, node, device):
            continue
        if end_s < first_s:
            first_s, second_s, best = end_s, first_s, device
        else:
            second_s = end_s
    return first_s, second_s, best


def _urgency(rule: Rule, first_s: float, second_s: float) -> float:
    """Return how urgent a call is, given its two earliest ends [s]."""
    if rule == SUFFERAGE:
        return second_s - first_s
    return first_s if rule == MAX_MIN else -first_s


def _end(p: Plain, bench: Bench, device: int, node: int, future: Future) -> float:
    placed = appraise(p, bench, device, node)
    return inf if placed is None else placed.finish_s + future[node][device]


def _idle_affinity(p: Plain) -> Orders:
    state, orders = benches(p), [list[int]() for _ in range(p.devices)]
    home = [-1] * p.frontier
    left, open_devices = list(range(p.frontier)), list(range(p.devices))
    while left and open_devices:
        device = min(open_devices, key=lambda d: (max(min(state[d].free_at_s), p.now_s), d))
        best_s, best = inf, -1
        for node in left:
            placed = appraise(p, state[device], device, node)
            if placed is None or not may_hold(p, home, node, device):
                continue
            unload_s, load_s, transfer_s, _ = placed.terms
            prefill_s = prefill_seconds(
                p.first_tokens[node] - placed.cached,
                placed.cached,
                *p.prefill[device][p.model[node]],
            )
            price_s = unload_s + load_s + transfer_s + prefill_s
            if price_s < best_s:
                best_s, best = price_s, node
        if best < 0:
            open_devices.remove(device)
            continue
        _put(p, state[device], device, best)
        orders[device].append(best)
        home[best] = device
        left.remove(best)
    return orders


def must_first(must_start: list[int], orders: Orders) -> Orders:
    """Return the same lists with chunks over their wait bound at the head, otherwise as before."""
    return [sorted(order, key=lambda node: not must_start[node]) for order in orders]


def local_search(
    p: Plain, orders: Orders, future: Future, moves: list[list[int]]
) -> tuple[Orders, float]:
    """Return the plan after trying every move in turn, and its value.

    A move is taken if J gets no worse; only the devices it touches are replayed. `orders` must
    keep the shard limit and have the chunks that must start first; every plan on the way does.

    Args:
        p: the problem.
        orders: the plan to start from.
        future: [F, D] horizon regret.
        moves: rows of four random integers >= 0, see `_propose`.
    """
    orders = [list(order) for order in orders]
    home = [-1] * p.frontier
    for device, order in enumerate(orders):
        for node in order:
            home[node] = device
    placed = [node for node in range(p.frontier) if home[node] >= 0]
    values = [device_value(p, device, order, future) for device, order in enumerate(orders)]
    best_s = plan_value(p, values)
    for move in moves if placed else []:
        changed = _propose(p, orders, home, placed, move)
        trial = _weigh(p, values, changed, future, best_s) if changed else None
        if trial is None:
            continue
        value_s = plan_value(p, trial)
        if value_s <= best_s:
            best_s, values = value_s, trial
            for device, order in changed.items():
                orders[device] = order
                for node in order:
                    home[node] = device
    return orders, best_s


def _weigh(
    p: Plain, values: Values, changed: dict[int, list[int]], future: Future, best_s: float
) -> Values | None:
    """Replay the touched devices; None where J is worse, or must-start chunks do not lead."""
    spare_s, trial = best_s + SLACK * max(1.0, best_s), list(values)
    for device, value in enumerate(values):
        if device not in changed:
            spare_s = spare_s - value[1]
    for device in sorted(changed):
        if not _must_lead(p, changed[device]):
            return None
        trial[device] = device_value(p, device, changed[device], future, spare_s)
        if not trial[device][0] < inf:
            return None
        spare_s = spare_s - trial[device][1]
    return trial


def _must_lead(p: Plain, order: list[int]) -> bool:
    flags = [p.must_start[node] for node in order]
    return flags == sorted(flags, reverse=True)


def _propose(
    p: Plain, orders: Orders, home: list[int], placed: list[int], move: list[int]
) -> dict[int, list[int]]:
    """Return the new lists of the devices a move touches; empty if it changes nothing or may not.

    The four integers choose kind, node, other node or device, and position, each modulo the
    number of choices: 0 reassign a call, 1 swap two, 2 reorder within a list, 3 move all chunks
    of an instance, in index order, 4 let two instances change places, 5 move all calls of a list
    that want the same model, as one block.
    """
    kind, node, other = move[0] % 6, placed[move[1] % len(placed)], placed[move[2] % len(placed)]
    to = (move[2] % p.devices, move[3])
    if kind == 0:
        return _reassign(p, orders, home, node, to)
    if kind == 1:
        return _swap(p, orders, home, node, other)
    if kind == 2:
        order = [other for other in orders[home[node]] if other != node]
        order.insert(move[3] % (len(order) + 1), node)
        return {} if order == orders[home[node]] else {home[node]: order}
    if kind == 3:
        return _gather(p, orders, home, node, to)
    if kind == 4:
        return _exchange(p, orders, home, node, other)
    return _regroup(p, orders, home, node, to)


def _reassign(
    p: Plain, orders: Orders, home: list[int], node: int, to: tuple[int, int]
) -> dict[int, list[int]]:
    device, position = to
    source = home[node]
    if device == source or not p.eligible[node][device] or not may_hold(p, home, node, device):
        return {}
    order = list(orders[device])
    order.insert(position % (len(order) + 1), node)
    return {source: [other for other in orders[source] if other != node], device: order}


def _swap(p: Plain, orders: Orders, home: list[int], left: int, right: int) -> dict[int, list[int]]:
    source, target = home[left], home[right]
    if left == right:
        return {}
    if source != target:
        if not (p.eligible[left][target] and p.eligible[right][source]):
            return {}
        if p.instance[left] != p.instance[right] and not (
            may_hold(p, home, left, target) and may_hold(p, home, right, source)
        ):
            return {}
    other = {left: right, right: left}
    return {
        device: [other.get(node, node) for node in orders[device]] for device in (source, target)
    }


def _may_gather(p: Plain, node: int, device: int) -> bool:
    """Whether a device may take all chunks of the node's instance that do not run yet."""
    if not p.eligible[node][device]:
        return False
    running = [d for d in range(p.devices) if runs(p, node, d)]
    limit = p.weights.limit
    return limit >= p.devices or device in running or len(running) < limit


def _chunks(p: Plain, home: list[int], node: int) -> list[int]:
    return [n for n in range(p.frontier) if home[n] >= 0 and p.instance[n] == p.instance[node]]


def _gather(
    p: Plain, orders: Orders, home: list[int], node: int, to: tuple[int, int]
) -> dict[int, list[int]]:
    device, position = to
    if not _may_gather(p, node, device):
        return {}
    chunks = _chunks(p, home, node)
    changed = {home[n]: [o for o in orders[home[n]] if o not in chunks] for n in chunks}
    order = changed.get(device, orders[device])
    position %= len(order) + 1
    return {**changed, device: order[:position] + chunks + order[position:]}


def _exchange(
    p: Plain, orders: Orders, home: list[int], left: int, right: int
) -> dict[int, list[int]]:
    source, target = home[left], home[right]
    if source == target or p.instance[left] == p.instance[right]:
        return {}
    if not (_may_gather(p, left, target) and _may_gather(p, right, source)):
        return {}
    mine, theirs = _chunks(p, home, left), _chunks(p, home, right)
    leaving = {*mine, *theirs}
    changed = {home[n]: [o for o in orders[home[n]] if o not in leaving] for n in leaving}
    for device, at, chunks in ((source, left, theirs), (target, right, mine)):
        before = orders[device][: orders[device].index(at)]
        position = sum(o not in leaving for o in before)
        changed[device][position:position] = chunks
    return changed


def _regroup(
    p: Plain, orders: Orders, home: list[int], node: int, to: tuple[int, int]
) -> dict[int, list[int]]:
    device, position = to
    source = home[node]
    block = [n for n in orders[source] if p.model[n] == p.model[node]]
    if device != source and not all(_may_leave(p, home, n, device) for n in block):
        return {}
    left = [n for n in orders[source] if p.model[n] != p.model[node]]
    order = left if device == source else orders[device]
    position %= len(order) + 1
    changed = {source: left, device: order[:position] + block + order[position:]}
    return {} if changed[device] == orders[device] else changed


def _may_leave(p: Plain, home: list[int], node: int, device: int) -> bool:
    """Whether a chunk may go to a device together with its instance's others beside it."""
    if not p.eligible[node][device]:
        return False
    held = [
        d
        for d in range(p.devices)
        if runs(p, node, d) or (d != home[node] and holds(p, home, node, d))
    ]
    limit = p.weights.limit
    return limit >= p.devices or device in held or len(held) < limit
