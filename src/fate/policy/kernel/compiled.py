"""The reference kernel, compiled: the same expressions in the same order, on arrays.

Read `reference` for what this computes; the two are held bit-equal by tests. Compiled code has no
bounds checks. numba's cache does not notice an edited callee in another file; therefore `backend`
keys the cache by a digest of all kernel sources.

Lists by device are `orders` [D, F] i64 with `lengths` [D]; a call that cannot run ends at inf.
"""

import numpy as np

from fate.cost import terms
from fate.domain.snapshot import F64, I64
from fate.policy.kernel.compiled_calls import (
    Placed,
    company,
    mark_used,
    next_seconds,
    nowhere,
    occupy,
    settle,
    settle_start,
    soonest,
)
from fate.policy.kernel.compiled_state import (
    CLOCK,
    FROM,
    GATHER,
    INF,
    LOADER,
    USES,
    State,
    cache,
    find_sequence,
    fresh_state,
    inline,
    jit,
    reset,
    within,
)
from fate.policy.kernel.problem import (
    BYTES,
    DECODE,
    ELIGIBLE,
    FIRST,
    FOOTPRINT,
    HEAD,
    HELD,
    HELD_USED,
    ITEMS,
    LOAD,
    MEMORY,
    MODEL,
    MOVE,
    MOVED,
    OUTPUT,
    PARKS,
    PINNED,
    PREFILL,
    RESIDENT,
    REST,
    SLOWDOWN,
    TAIL,
    TRANSFER,
    UNLOAD,
    USED,
    Problem,
    Seat,
)

prefill = jit(terms.prefill_seconds)
_decode_seconds = jit(terms.decode_seconds)


@inline
def work_seconds(p: Problem, node: int, device: int, cached: float) -> float:
    """See `reference.work_seconds`."""
    rates = p.rates[device, p.ids[node, MODEL]]
    fixed_s, token_s, depth_s = rates[PREFILL], rates[PREFILL + 1], rates[PREFILL + 2]
    out_fixed_s, out_token_s, out_depth_s = rates[DECODE], rates[DECODE + 1], rates[DECODE + 2]
    first, rest = p.sizes[node, FIRST], p.sizes[node, ITEMS]
    tokens = p.sizes[node, OUTPUT] / (1.0 + rest)
    seconds = prefill(first - cached, cached, fixed_s, token_s, depth_s)
    seconds = seconds + _decode_seconds(tokens, first, out_fixed_s, out_token_s, out_depth_s)
    if rest > 0.0:
        mean, head = p.sizes[node, REST] / rest, p.sizes[node, HEAD]
        each = prefill(mean, head, fixed_s, token_s, depth_s)
        each = each + _decode_seconds(tokens, head + mean, out_fixed_s, out_token_s, out_depth_s)
        seconds = seconds + rest * each
    return seconds


@inline
def evictions(p: Problem, s: State, device: int, model: int, at_s: float) -> bool:
    """Fill `gone`, least recently used first; False if the model cannot fit.

    What is flagged in `used`, or on its way in at `at_s`, stays.
    """
    models = p.rates.shape[1]
    s.gone[0] = 0
    free = p.store[device, model, MEMORY]
    for other in range(models):
        if s.store[device, other, RESIDENT]:
            free -= p.store[device, other, FOOTPRINT]
    need = p.store[device, model, FOOTPRINT]
    while free < need:
        oldest = -1
        for other in range(models):
            if not s.store[device, other, RESIDENT] or p.store[device, other, PINNED]:
                continue
            if s.model_s[device, other] > at_s or s.used[other] or _is_gone(s, other):
                continue
            if oldest < 0 or s.store[device, other, USED] < s.store[device, oldest, USED]:
                oldest = other
        if oldest < 0:
            return False
        s.gone[0] += 1
        s.gone[s.gone[0]] = oldest
        free += p.store[device, oldest, FOOTPRINT]
    return True


@inline
def _is_gone(s: State, model: int) -> bool:
    gone = False
    for i in range(s.gone[0]):
        gone = gone or s.gone[1 + i] == model
    return gone


@inline
def gather_seconds(p: Problem, node: int, source: int, device: int) -> float:
    """See `reference.gather_seconds`."""
    size = p.sizes[node, BYTES]
    if size > 0.0:
        return p.link[source, device, 0] + size * p.link[source, device, 1]
    return 0.0


@inline
def _bring(p: Problem, node: int, device: int, seat: Seat) -> tuple[float, float, float, int]:
    """See `reference.bring`."""
    cached, bring_s, source = seat.cached, 0.0, -1
    work_s = work_seconds(p, node, device, cached)
    if seat.copied > 0.0:
        copied_s = work_seconds(p, node, device, seat.copied)
        if seat.copy_s + copied_s < work_s:
            cached, bring_s, work_s, source = seat.copied, seat.copy_s, copied_s, seat.source
    moved, move_s = p.cells[node, device, MOVED], p.cells[node, device, MOVE]
    if moved > seat.cached and seat.sequence >= 0:
        moved_s = work_seconds(p, node, device, moved)
        if move_s + moved_s < bring_s + work_s:
            cached, bring_s, work_s, source = moved, move_s, moved_s, -1
    return bring_s, work_s, cached, source


@inline
def _evict(
    p: Problem, s: State, device: int, model: int, start_s: float
) -> tuple[float, bool, bool]:
    """Return (when unloads begin, blocked, possible) for a model to load; fills `gone`."""
    settled_s = s.model_s[device, model]
    blocked, slots, at_s = settled_s > start_s, p.slots.shape[1], start_s
    while True:  # one place, for all of it is compiled into its callers
        if slots > 1:
            mark_used(s, device, at_s)
        if evictions(p, s, device, model, at_s):
            break
        if not at_s < INF:
            return INF, blocked, False
        blocked, at_s = True, INF
    begin_s = max(max(start_s, s.model_s[device, LOADER]), settled_s)
    if blocked and slots > 1:
        for slot in range(slots):
            free_s = s.free_at_s[device, slot]
            if free_s < INF and _is_gone(s, int(s.calls[device, slot, USES])):
                begin_s = max(begin_s, free_s)
    return begin_s, blocked, True


@inline
def appraise(p: Problem, s: State, device: int, node: int) -> Placed:
    """See `reference.appraise`; fills `gone`."""
    s.gone[0] = 0
    if not p.cells[node, device, ELIGIBLE]:
        return nowhere()
    model, slot = p.ids[node, MODEL], soonest(s, device)
    start_s = max(s.free_at_s[device, slot], s.model_s[device, FROM])
    unload_s, load_s, unload_at_s, blocked = 0.0, 0.0, start_s, False
    if s.store[device, model, RESIDENT]:
        loaded_s = max(start_s, s.model_s[device, model])
    else:
        unload_at_s, blocked, possible = _evict(p, s, device, model, start_s)
        if not possible:
            return nowhere()
        at_s = unload_at_s
        for i in range(s.gone[0]):
            at_s = at_s + p.rates[device, s.gone[1 + i], UNLOAD]
            unload_s = unload_s + p.rates[device, s.gone[1 + i], UNLOAD]
        load_s = p.rates[device, model, LOAD]
        loaded_s = at_s + load_s
    seat = find_sequence(p, s, device, node, start_s)
    bring_s, work_s, cached, source = _bring(p, node, device, seat)
    gather_s = p.cells[node, device, TRANSFER] + s.model_s[device, GATHER]
    call_at_s = loaded_s + bring_s
    slowed_s = work_s * p.slots[device, company(s, device, slot, call_at_s), SLOWDOWN]
    finish_s = (call_at_s + gather_s) + slowed_s
    if not finish_s < INF:
        return nowhere()
    before_s = (unload_s + load_s) + (bring_s + gather_s)
    return Placed(
        finish_s,
        slot,
        seat.sequence,
        cached,
        loaded_s,
        before_s,
        start_s,
        unload_at_s,
        call_at_s,
        gather_s,
        work_s,
        source,
        blocked,
    )


@inline
def start(p: Problem, s: State, device: int, node: int) -> Placed:
    """Appraise a call that starts as soon as it can; let others begin before it."""
    slots, from_s = p.slots.shape[1], s.model_s[device, FROM]
    s.begun[0] = 0
    while True:  # one place, as above
        if slots > 1:
            settle_start(p, s, device)
        placed = appraise(p, s, device, node)
        change_s = next_seconds(s, device, placed.start_s) if placed.blocked else INF
        if not change_s < INF:
            break
        s.model_s[device, FROM] = change_s
    s.model_s[device, FROM] = from_s
    return placed


@inline
def run(p: Problem, s: State, device: int, node: int) -> float:
    """Start and commit a call; return its end, as far as it is known."""
    placed = start(p, s, device, node)
    if placed.finish_s < INF:
        commit(p, s, device, node, placed)
    return placed.finish_s


@inline
def commit(p: Problem, s: State, device: int, node: int, placed: Placed) -> None:
    """See `reference.commit`; `gone` is as `appraise` left it."""
    model, sequence, at_s = p.ids[node, MODEL], placed.sequence, placed.unload_at_s
    for i in range(s.gone[0]):
        other = s.gone[1 + i]
        at_s = at_s + p.rates[device, other, UNLOAD]
        s.store[device, other, RESIDENT] = 0
        s.model_s[device, other] = at_s
        if not p.store[device, other, PARKS]:
            for k in range(p.content.shape[2]):
                s.content[device, other, k, HELD] = min(s.content[device, other, k, HELD], -1)
                s.content[device, other, k, HELD_USED] = 0
    if not s.store[device, model, RESIDENT]:
        s.store[device, model, RESIDENT] = 1
        s.model_s[device, model] = placed.loaded_s
        s.model_s[device, LOADER] = placed.loaded_s
    s.store[device, model, USED] = s.store[device, -1, CLOCK]
    if sequence >= 0:
        s.content[device, model, sequence, HELD] = p.contents_now + node
        s.content[device, model, sequence, HELD_USED] = s.store[device, -1, CLOCK]
    if p.cached[device, -1]:
        cache(p, s, device, node)
    s.free_at_s[device, placed.slot] = placed.finish_s
    if p.slots.shape[1] > 1:
        occupy(p, s, device, node, placed)
    s.store[device, -1, CLOCK] += 1


@jit
def replay(p: Problem, orders: I64, lengths: I64) -> F64:
    """See `reference.replay`."""
    finish_s = np.full(p.frontier, INF)
    s = fresh_state(p)
    for device in range(lengths.shape[0]):
        for k in range(lengths[device]):
            node = int(orders[device, k])
            finish_s[node] = run(p, s, device, node)
            _fix(s, finish_s)
        if p.slots.shape[1] > 1:
            s.begun[0] = 0
            settle(p, s, device, INF)
            _fix(s, finish_s)
    return finish_s


@inline
def _fix(s: State, finish_s: F64) -> None:
    """Write down the ends of the calls that have begun."""
    for i in range(s.begun[0]):
        if s.begun[1 + i] >= 0:
            finish_s[s.begun[1 + i]] = s.begun_s[i]


@within
def device_value(
    p: Problem, s: State, device: int, order: tuple[I64, int], future: F64, spare_s: float
) -> tuple[float, float]:
    """See `reference.device_value`."""
    latest_s, total_s, several = p.now_s, 0.0, p.slots.shape[1] > 1
    reset(p, s, device)
    for k in range(order[1]):
        node = int(order[0][k])
        finish_s = run(p, s, device, node)
        if not finish_s < INF:
            return INF, INF
        if several:
            latest_s, total_s = _count(p, s, device, future, (latest_s, total_s))
        else:
            latest_s = max(latest_s, finish_s + p.weights.tau * p.sizes[node, TAIL])
            total_s = total_s + (p.weights.eps * (finish_s - p.now_s) + future[node, device])
        if (latest_s - p.now_s) + total_s > spare_s:
            return INF, INF
    if several:
        s.begun[0] = 0
        settle(p, s, device, INF)
        latest_s, total_s = _count(p, s, device, future, (latest_s, total_s))
    return latest_s, total_s


@inline
def _count(
    p: Problem, s: State, device: int, future: F64, value: tuple[float, float]
) -> tuple[float, float]:
    """See `reference._count`."""
    latest_s, total_s = value
    for i in range(s.begun[0]):
        node, end_s = int(s.begun[1 + i]), s.begun_s[i]
        if node >= 0:
            latest_s = max(latest_s, end_s + p.weights.tau * p.sizes[node, TAIL])
            total_s = total_s + (p.weights.eps * (end_s - p.now_s) + future[node, device])
    return latest_s, total_s


@within
def plan_value(p: Problem, latest: F64, total: F64) -> float:
    """See `reference.plan_value`."""
    latest_s, total_s = p.now_s, 0.0
    for device in range(latest.shape[0]):
        latest_s = max(latest_s, latest[device])
        total_s = total_s + total[device]
    return (latest_s - p.now_s) + total_s


@jit
def objective(p: Problem, orders: I64, lengths: I64, future: F64) -> float:
    """See `reference.objective`."""
    devices = lengths.shape[0]
    latest, total, s = np.zeros(devices), np.zeros(devices), fresh_state(p)
    for d in range(devices):
        latest[d], total[d] = device_value(p, s, d, (orders[d], lengths[d]), future, INF)
    return plan_value(p, latest, total)
