"""The reference kernel, compiled: the same expressions in the same order, on arrays.

Read `reference` for what this computes; the two are held bit-equal by tests. Compiled code has no
bounds checks. numba's cache does not notice an edited callee in another file; therefore `backend`
keys the cache by a digest of all kernel sources.

Lists by device are `orders` [D, F] i64 with `lengths` [D]; a call that cannot run ends at inf.
"""

import numpy as np

from fate.cost import terms
from fate.domain.snapshot import F64, I64
from fate.policy.kernel.compiled_state import (
    CLOCK,
    FROM,
    GATHER,
    INF,
    LOADED,
    UNTIL,
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
def evictions(p: Problem, s: State, device: int, model: int) -> bool:
    """Fill `gone`, least recently used first; False if the model cannot fit."""
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
            chosen = False
            for i in range(s.gone[0]):
                chosen = chosen or s.gone[1 + i] == other
            if chosen:
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
def gather_seconds(p: Problem, node: int, source: int, device: int) -> float:
    """See `reference.gather_seconds`."""
    size = p.sizes[node, BYTES]
    if size > 0.0:
        return p.link[source, device, 0] + size * p.link[source, device, 1]
    return 0.0


@inline
def _bring(p: Problem, node: int, device: int, seat: Seat, busy: int) -> tuple[float, float, float]:
    """See `reference.bring`."""
    cached, bring_s = seat.cached, 0.0
    work_s = work_seconds(p, node, device, cached) * p.slots[device, busy, SLOWDOWN]
    if seat.copied > 0.0:
        copied_s = work_seconds(p, node, device, seat.copied) * p.slots[device, busy, SLOWDOWN]
        if seat.copy_s + copied_s < work_s:
            cached, bring_s, work_s = seat.copied, seat.copy_s, copied_s
    moved, move_s = p.cells[node, device, MOVED], p.cells[node, device, MOVE]
    if moved > seat.cached and seat.sequence >= 0:
        moved_s = work_seconds(p, node, device, moved) * p.slots[device, busy, SLOWDOWN]
        if move_s + moved_s < bring_s + work_s:
            cached, bring_s, work_s = moved, move_s, moved_s
    return p.cells[node, device, TRANSFER] + bring_s, work_s, cached


@inline
def appraise(
    p: Problem, s: State, device: int, node: int
) -> tuple[float, int, int, float, float, float]:
    """Return (finish, slot, sequence, cached, loaded, seconds before the prefill); fills `gone`.

    inf where it cannot run.
    """
    s.gone[0] = 0
    if not p.cells[node, device, ELIGIBLE]:
        return INF, 0, -1, 0.0, 0.0, 0.0
    model, slot = p.ids[node, MODEL], 0
    for k in range(1, s.free_at_s.shape[1]):
        if s.free_at_s[device, k] < s.free_at_s[device, slot]:
            slot = k
    start_s = max(s.free_at_s[device, slot], s.model_s[device, -2, FROM])
    busy = 0
    for k in range(s.free_at_s.shape[1]):
        if start_s < s.free_at_s[device, k] < INF:
            busy += 1
    unload_s, load_s = 0.0, 0.0
    if s.store[device, model, RESIDENT]:
        loaded_s = max(start_s, s.model_s[device, model, LOADED])
    else:
        if not evictions(p, s, device, model):
            return INF, 0, -1, 0.0, 0.0, 0.0
        begin_s = max(start_s, s.model_s[device, -1, LOADED])
        for i in range(s.gone[0]):
            other = s.gone[1 + i]
            begin_s = max(begin_s, s.model_s[device, other, UNTIL])
            unload_s = unload_s + p.rates[device, other, UNLOAD]
        load_s = p.rates[device, model, LOAD]
        loaded_s = begin_s + unload_s + load_s
    seat = find_sequence(p, s, device, node)
    transfer_s, work_s, cached = _bring(p, node, device, seat, busy)
    transfer_s = transfer_s + s.model_s[device, -2, GATHER]
    finish_s = loaded_s + transfer_s + work_s
    if not finish_s < INF:
        return INF, 0, -1, 0.0, 0.0, 0.0
    return finish_s, slot, seat.sequence, cached, loaded_s, (unload_s + load_s) + transfer_s


@inline
def run(p: Problem, s: State, device: int, node: int) -> float:
    """Appraise and commit a call; return its end."""
    finish_s, slot, sequence, _, loaded_s, _ = appraise(p, s, device, node)
    if not finish_s < INF:
        return INF
    model = p.ids[node, MODEL]
    for i in range(s.gone[0]):
        other = s.gone[1 + i]
        s.store[device, other, RESIDENT] = 0
        if not p.store[device, other, PARKS]:
            for k in range(p.content.shape[2]):
                s.content[device, other, k, HELD] = min(s.content[device, other, k, HELD], -1)
                s.content[device, other, k, HELD_USED] = 0
    if not s.store[device, model, RESIDENT]:
        s.store[device, model, RESIDENT] = 1
        s.model_s[device, model, LOADED] = loaded_s
        s.model_s[device, -1, LOADED] = loaded_s
    s.store[device, model, USED] = s.store[device, -1, CLOCK]
    if sequence >= 0:
        s.content[device, model, sequence, HELD] = p.contents_now + node
        s.content[device, model, sequence, HELD_USED] = s.store[device, -1, CLOCK]
    if p.cached[device, -1]:
        cache(p, s, device, node)
    s.model_s[device, model, UNTIL] = max(s.model_s[device, model, UNTIL], finish_s)
    s.free_at_s[device, slot] = finish_s
    s.store[device, -1, CLOCK] += 1
    return finish_s


@jit
def replay(p: Problem, orders: I64, lengths: I64) -> F64:
    """See `reference.replay`."""
    finish_s = np.full(p.frontier, INF)
    s = fresh_state(p)
    for device in range(lengths.shape[0]):
        for k in range(lengths[device]):
            node = int(orders[device, k])
            finish_s[node] = run(p, s, device, node)
    return finish_s


@within
def device_value(
    p: Problem, s: State, device: int, order: tuple[I64, int], future: F64, spare_s: float
) -> tuple[float, float]:
    """See `reference.device_value`."""
    latest_s, total_s = p.now_s, 0.0
    reset(p, s, device)
    for k in range(order[1]):
        node = int(order[0][k])
        finish_s = run(p, s, device, node)
        if not finish_s < INF:
            return INF, INF
        latest_s = max(latest_s, finish_s + p.weights.tau * p.sizes[node, TAIL])
        total_s = total_s + (p.weights.eps * (finish_s - p.now_s) + future[node, device])
        if (latest_s - p.now_s) + total_s > spare_s:
            return INF, INF
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
