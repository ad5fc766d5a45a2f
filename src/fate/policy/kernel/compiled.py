"""The reference kernel, compiled: the same expressions in the same order, on arrays.

Read `reference` for what this computes; the two are held bit-equal by tests. Compiled code has no
bounds checks. numba's cache does not notice an edited callee in another file; therefore `backend`
keys the cache by a digest of all kernel sources.

Lists by device are `orders` [D, F] i64 with `lengths` [D]; a call that cannot run ends at inf.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar, cast

import numba
import numpy as np

from fate.cost import terms
from fate.domain.snapshot import F64, I64
from fate.domain.state import MIN_MATCH
from fate.policy.kernel.problem import (
    DECODE,
    ELIGIBLE,
    FIRST,
    FOOTPRINT,
    FREE,
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
    OWN,
    PARKS,
    PINNED,
    PREFILL,
    RESIDENT,
    REST,
    SLOWDOWN,
    TAIL,
    TRANSFER,
    UNLOAD,
    UPTO,
    USED,
    Problem,
)

_Function = TypeVar("_Function", bound=Callable[..., Any])


def jit(function: _Function) -> _Function:
    """Compile without fast-math, which would break bit-equality, and without the GIL."""
    decorate = cast("Any", numba).njit(cache=True, nogil=True, error_model="numpy")
    return cast("_Function", decorate(function))


def inline(function: _Function) -> _Function:
    """Compile into the caller: passing the many arrays of a problem costs more than the work."""
    decorate = cast("Any", numba).njit(
        cache=True, nogil=True, error_model="numpy", forceinline=True
    )
    return cast("_Function", decorate(function))


prefill = jit(terms.prefill_seconds)
_decode_seconds = jit(terms.decode_seconds)
INF = np.inf


# Columns of `State`; its last row per device is the device's own.
LOADED, UNTIL, CLOCK = 0, 1, 0


class State(NamedTuple):
    """Scratch state of all devices, see `reference.Bench`, packed like `Problem`.

    cached [D, Q + 1] as in `Problem`, with the tokens used in the last column;
    free_at_s [D, S]; model_s [D, M + 1, 2] loaded and used until, in the last row the loader's;
    store [D, M + 1, 2] resident and used, in the last row the clock; content [D, M, K, 2];
    gone [1 + M] a count, then that many models; hits [1 + K].
    """

    free_at_s: F64
    model_s: F64
    store: I64
    content: I64
    gone: I64
    hits: I64
    cached: I64


@inline
def reset(p: Problem, s: State, device: int) -> None:
    """Set a device's scratch state back to what it is now."""
    s.store[device, -1, CLOCK] = p.clock
    s.model_s[device, -1, LOADED] = -INF
    for slot in range(p.slots.shape[1]):
        s.free_at_s[device, slot] = p.slots[device, slot, FREE]
    for model in range(p.rates.shape[1]):
        s.store[device, model, RESIDENT] = p.store[device, model, RESIDENT]
        s.store[device, model, USED] = p.store[device, model, USED]
        s.model_s[device, model, LOADED] = -INF
        s.model_s[device, model, UNTIL] = -INF
        for k in range(p.content.shape[2]):
            s.content[device, model, k, HELD] = p.content[device, model, k, HELD]
            s.content[device, model, k, HELD_USED] = p.content[device, model, k, HELD_USED]
    if p.cached[device, -1]:
        s.cached[device, -1] = 0
        for node in range(p.path_tokens.shape[0]):
            s.cached[device, node] = p.cached[device, node]
            if p.cached[device, node] >= 0:
                s.cached[device, -1] += p.path_tokens[node, OWN]


@jit
def fresh_state(p: Problem) -> State:
    """Return the scratch state of all devices, as they are now."""
    devices, models = p.rates.shape[:2]
    s = State(
        np.zeros(p.slots.shape[:2]),
        np.zeros((devices, models + 1, 2)),
        np.zeros((devices, models + 1, 2), np.int64),
        np.zeros(p.content.shape, np.int64),
        np.zeros(1 + models, np.int64),
        np.zeros(1 + p.content.shape[2], np.int64),
        np.zeros(p.cached.shape, np.int64),
    )
    for device in range(devices):
        reset(p, s, device)
    return s


@inline
def usable_hit(hit: float, tokens: float) -> float:
    """See `domain.state.usable_hit`."""
    return min(hit, tokens - 1.0) if tokens > 0 else 0.0


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
def shared(p: Problem, node: int, content: int) -> int:
    """See `reference.shared`."""
    tokens = 0
    for k in range(p.prompt.shape[1]):
        mine = p.prompt[node, k]
        if mine < 0 or mine != p.held[content, k]:
            break
        tokens = p.path_tokens[mine, UPTO]
    return tokens


@inline
def leading(p: Problem, s: State, device: int, node: int) -> int:
    """See `reference.leading`."""
    tokens = 0
    for k in range(p.prompt.shape[1]):
        path_node = p.prompt[node, k]
        if path_node < 0 or s.cached[device, path_node] < 0:
            break
        tokens = p.path_tokens[path_node, UPTO]
    return tokens


@jit
def cache(p: Problem, s: State, device: int, node: int) -> None:
    """See `reference.cache`."""
    for k in range(p.held.shape[1]):
        path_node = p.held[p.contents_now + node, k]
        if path_node < 0:
            break
        if s.cached[device, path_node] < 0:
            s.cached[device, -1] += p.path_tokens[path_node, OWN]
        s.cached[device, path_node] = s.store[device, -1, CLOCK]
    while s.cached[device, -1] > p.cached[device, -1]:
        oldest = -1
        for path_node in range(p.path_tokens.shape[0]):
            if s.cached[device, path_node] >= 0 and (
                oldest < 0 or s.cached[device, path_node] <= s.cached[device, oldest]
            ):
                oldest = path_node
        s.cached[device, oldest] = -1
        s.cached[device, -1] -= p.path_tokens[oldest, OWN]


@inline
def _find_sequence(p: Problem, s: State, device: int, node: int) -> tuple[int, float]:
    model, count, tokens = p.ids[node, MODEL], 0, p.sizes[node, FIRST]
    if p.cached[device, -1]:
        return -1, usable_hit(float(leading(p, s, device, node)), tokens)
    for k in range(p.content.shape[2]):
        content = s.content[device, model, k, HELD]
        if content != -2:
            s.hits[count] = shared(p, node, content) if content >= 0 else 0
            count += 1
    if count == 0:
        return -1, 0.0
    best, oldest = 0, 0
    for k in range(1, count):
        if s.hits[k] > s.hits[best]:
            best = k
        if s.content[device, model, k, HELD_USED] < s.content[device, model, oldest, HELD_USED]:
            oldest = k
    if s.hits[best] < MIN_MATCH * tokens or s.hits[best] <= 0:
        best = oldest
    return best, usable_hit(float(s.hits[best]), tokens)


@inline
def _bring(
    p: Problem, node: int, device: int, at: tuple[int, int], cached: float
) -> tuple[float, float, float]:
    """See `reference.bring`."""
    sequence, busy = at
    transfer_s = p.cells[node, device, TRANSFER]
    work_s = work_seconds(p, node, device, cached) * p.slots[device, busy, SLOWDOWN]
    moved = p.cells[node, device, MOVED]
    if moved > cached and sequence >= 0:
        moved_s = work_seconds(p, node, device, moved) * p.slots[device, busy, SLOWDOWN]
        if p.cells[node, device, MOVE] + moved_s < work_s:
            return transfer_s + p.cells[node, device, MOVE], moved_s, moved
    return transfer_s, work_s, cached


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
    start_s = max(s.free_at_s[device, slot], p.now_s)
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
    sequence, cached = _find_sequence(p, s, device, node)
    transfer_s, work_s, cached = _bring(p, node, device, (sequence, busy), cached)
    finish_s = loaded_s + transfer_s + work_s
    if not finish_s < INF:
        return INF, 0, -1, 0.0, 0.0, 0.0
    return finish_s, slot, sequence, cached, loaded_s, (unload_s + load_s) + transfer_s


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


@jit
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


@jit
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
