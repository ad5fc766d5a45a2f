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
from fate.domain.snapshot import F64, I64, U8
from fate.domain.state import MIN_MATCH
from fate.policy.kernel.problem import Problem

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


class State(NamedTuple):
    """Scratch state of all devices, see `reference.Bench`; `gone` [1 + M] counts, then lists."""

    clock: I64
    free_at_s: F64
    resident: U8
    used_at: I64
    content: I64
    content_used_at: I64
    loaded_at_s: F64
    used_until_s: F64
    loader_at_s: F64
    gone: I64
    hits: I64


@jit
def fresh_state(p: Problem) -> State:
    """Return the scratch state of all devices, as they are now."""
    devices, models = p.load_s.shape
    return State(
        np.full(devices, p.clock),
        p.free_at_s.copy(),
        p.resident.copy(),
        p.used_at.copy(),
        p.content.astype(np.int64),
        p.content_used_at.copy(),
        np.full((devices, models), -INF),
        np.full((devices, models), -INF),
        np.full(devices, -INF),
        np.zeros(1 + models, np.int64),
        np.zeros(1 + p.content.shape[2], np.int64),
    )


@inline
def reset(p: Problem, s: State, device: int) -> None:
    """Set a device's scratch state back to what it is now."""
    s.clock[device] = p.clock
    s.loader_at_s[device] = -INF
    for slot in range(p.free_at_s.shape[1]):
        s.free_at_s[device, slot] = p.free_at_s[device, slot]
    for model in range(p.load_s.shape[1]):
        s.resident[device, model] = p.resident[device, model]
        s.used_at[device, model] = p.used_at[device, model]
        s.loaded_at_s[device, model] = -INF
        s.used_until_s[device, model] = -INF
        for k in range(p.content.shape[2]):
            s.content[device, model, k] = p.content[device, model, k]
            s.content_used_at[device, model, k] = p.content_used_at[device, model, k]


@inline
def usable_hit(hit: float, tokens: float) -> float:
    """See `domain.state.usable_hit`."""
    return min(hit, tokens - 1.0) if tokens > 0 else 0.0


@inline
def work_seconds(p: Problem, node: int, device: int, cached: float) -> float:
    """See `reference.work_seconds`."""
    model = p.model[node]
    fixed_s, token_s = p.prefill[device, model, 0], p.prefill[device, model, 1]
    depth_s = p.prefill[device, model, 2]
    out_fixed_s, out_token_s = p.decode[device, model, 0], p.decode[device, model, 1]
    out_depth_s = p.decode[device, model, 2]
    first, rest = p.first_tokens[node], p.rest_items[node]
    tokens = p.output_tokens[node] / (1.0 + rest)
    seconds = prefill(first - cached, cached, fixed_s, token_s, depth_s)
    seconds = seconds + _decode_seconds(tokens, first, out_fixed_s, out_token_s, out_depth_s)
    if rest > 0.0:
        mean, head = p.rest_tokens[node] / rest, p.head_tokens[node]
        each = prefill(mean, head, fixed_s, token_s, depth_s)
        each = each + _decode_seconds(tokens, head + mean, out_fixed_s, out_token_s, out_depth_s)
        seconds = seconds + rest * each
    return seconds


@inline
def evictions(p: Problem, s: State, device: int, model: int) -> bool:
    """Fill `gone`, least recently used first; False if the model cannot fit."""
    models = p.load_s.shape[1]
    s.gone[0] = 0
    free = p.memory_bytes[device]
    for other in range(models):
        if s.resident[device, other]:
            free -= p.footprint_bytes[device, other]
    need = p.footprint_bytes[device, model]
    while free < need:
        oldest = -1
        for other in range(models):
            if not s.resident[device, other] or p.pinned[device, other]:
                continue
            chosen = False
            for i in range(s.gone[0]):
                chosen = chosen or s.gone[1 + i] == other
            if chosen:
                continue
            if oldest < 0 or s.used_at[device, other] < s.used_at[device, oldest]:
                oldest = other
        if oldest < 0:
            return False
        s.gone[0] += 1
        s.gone[s.gone[0]] = oldest
        free += p.footprint_bytes[device, oldest]
    return True


@inline
def _find_sequence(p: Problem, s: State, device: int, node: int) -> tuple[int, float]:
    model, count = p.model[node], 0
    for k in range(p.content.shape[2]):
        content = s.content[device, model, k]
        if content != -2:
            s.hits[count] = p.hit[node, content] if content >= 0 else 0
            count += 1
    if count == 0:
        return -1, 0.0
    best, oldest = 0, 0
    for k in range(1, count):
        if s.hits[k] > s.hits[best]:
            best = k
        if s.content_used_at[device, model, k] < s.content_used_at[device, model, oldest]:
            oldest = k
    tokens = p.first_tokens[node]
    if s.hits[best] < MIN_MATCH * tokens or s.hits[best] <= 0:
        best = oldest
    return best, usable_hit(float(s.hits[best]), tokens)


@inline
def appraise(
    p: Problem, s: State, device: int, node: int
) -> tuple[float, int, int, float, float, float]:
    """Return (finish, slot, sequence, cached, loaded, swap); fills `gone`; inf if it cannot run."""
    s.gone[0] = 0
    if not p.eligible[node, device]:
        return INF, 0, -1, 0.0, 0.0, 0.0
    model, slot = p.model[node], 0
    for k in range(1, s.free_at_s.shape[1]):
        if s.free_at_s[device, k] < s.free_at_s[device, slot]:
            slot = k
    start_s = max(s.free_at_s[device, slot], p.now_s)
    busy = 0
    for k in range(s.free_at_s.shape[1]):
        if start_s < s.free_at_s[device, k] < INF:
            busy += 1
    unload_s, load_s = 0.0, 0.0
    if s.resident[device, model]:
        loaded_s = max(start_s, s.loaded_at_s[device, model])
        sequence, cached = _find_sequence(p, s, device, node)
    else:
        if not evictions(p, s, device, model):
            return INF, 0, -1, 0.0, 0.0, 0.0
        begin_s = max(start_s, s.loader_at_s[device])
        for i in range(s.gone[0]):
            other = s.gone[1 + i]
            begin_s = max(begin_s, s.used_until_s[device, other])
            unload_s = unload_s + p.unload_s[device, other]
        load_s = p.load_s[device, model]
        loaded_s = begin_s + unload_s + load_s
        has_slots = p.content.shape[2] > 0 and p.content[device, model, 0] != -2
        sequence, cached = 0 if has_slots else -1, 0.0
    work_s = work_seconds(p, node, device, cached) * p.slowdown[device, busy]
    finish_s = loaded_s + p.transfer_s[node, device] + work_s
    if not finish_s < INF:
        return INF, 0, -1, 0.0, 0.0, 0.0
    return finish_s, slot, sequence, cached, loaded_s, unload_s + load_s


@inline
def run(p: Problem, s: State, device: int, node: int) -> float:
    """Appraise and commit a call; return its end."""
    finish_s, slot, sequence, _, loaded_s, _ = appraise(p, s, device, node)
    if not finish_s < INF:
        return INF
    model = p.model[node]
    for i in range(s.gone[0]):
        s.resident[device, s.gone[1 + i]] = 0
    if not s.resident[device, model]:
        s.resident[device, model] = 1
        for k in range(p.content.shape[2]):
            s.content[device, model, k] = min(s.content[device, model, k], -1)
            s.content_used_at[device, model, k] = 0
        s.loaded_at_s[device, model] = loaded_s
        s.loader_at_s[device] = loaded_s
    s.used_at[device, model] = s.clock[device]
    if sequence >= 0:
        s.content[device, model, sequence] = p.contents_now + node
        s.content_used_at[device, model, sequence] = s.clock[device]
    s.used_until_s[device, model] = max(s.used_until_s[device, model], finish_s)
    s.free_at_s[device, slot] = finish_s
    s.clock[device] += 1
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
        latest_s = max(latest_s, finish_s + p.weights.tau * p.tail_s[node])
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
