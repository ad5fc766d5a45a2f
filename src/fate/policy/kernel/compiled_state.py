"""The scratch state that compiled replays work on, and the prefixes cached in it.

See `compiled`, and `reference` for what this computes.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeVar, cast

import numba
import numpy as np

from fate.cost import terms
from fate.cost.terms import STATE_FIXED_S
from fate.domain import state
from fate.domain.snapshot import F64, I64
from fate.domain.state import MIN_MATCH, CopyCosts
from fate.policy.kernel.problem import (
    CALL_AT,
    CALL_GATHER,
    CALL_WORK,
    COPY,
    FIRST,
    FREE,
    HELD,
    HELD_USED,
    IN_USE,
    LOADER_AT,
    MODEL,
    OWN,
    PREFILL,
    RESIDENT,
    SEQUENCE,
    SETTLED_AT,
    UPTO,
    USED,
    Problem,
    Seat,
)

_Function = TypeVar("_Function", bound=Callable[..., Any])


#: Without fast-math, which would break bit-equality, and without the GIL.
_HOW: Mapping[str, Any] = {"cache": True, "nogil": True, "error_model": "numpy"}
#: For what allocates nothing and is called by compiled code only: without counting references, an
#: atomic operation at every row that is looked at and most of what a projection took.
_WITHIN: Mapping[str, Any] = {
    **_HOW,
    "_nrt": False,
    "no_cpython_wrapper": True,
    "no_cfunc_wrapper": True,
}


def _compile(function: _Function, how: Mapping[str, Any]) -> _Function:
    return cast("_Function", cast("Any", numba).njit(**how)(function))


def jit(function: _Function) -> _Function:
    """Compile a function that Python may call and that may allocate."""
    return _compile(function, _HOW)


def within(function: _Function) -> _Function:
    """Compile for callers in compiled code; it must not allocate."""
    return _compile(function, _WITHIN)


def inline(function: _Function) -> _Function:
    """Compile into the caller: passing the many arrays of a problem costs more than the work."""
    return _compile(function, {**_WITHIN, "forceinline": True})


INF = np.inf


_copy_pays = jit(state.copy_pays)
_copy_seconds = jit(terms.copy_seconds)

# Columns of `State`; in `store` and `model_s` the last ones of a device are the device's own.
CLOCK = 0
FROM, GATHER, LOADER = -3, -2, -1
AT, GATHERS, WORKS = range(3)
NODE, USES, SEAT, SOURCE, ORDER = range(5)


class State(NamedTuple):
    """Scratch state of all devices, see `reference.Bench`, packed like `Problem`.

    cached [D, Q + 1] as in `Problem`, with the tokens used in the last column;
    queue [D, C, 2] (path node, logical time) of every use, oldest first, between ends [D, 2]; an
    entry with another time than the node's is out of date;
    free_at_s [D, S]; model_s [D, M + 3] when models are settled, then from when calls start, what
    they gather on top, and the loader;
    store [D, M + 1, 2] resident and used, in the last row the clock; content [D, M, K, 2];
    gone [1 + M] a count, then that many models; flags used [M + 1]; hits [K], flags taken [K + 1];
    calls_s [D, S, 3] and calls [D, S, 5] as in `reference_state.Calls`, with begun [2 + S] a count,
    then that many nodes, and begun_s [1 + S] their ends, and begins_s [D] when the next one begins;
    none of these is used where S is 1.
    """

    free_at_s: F64
    model_s: F64
    store: I64
    content: I64
    gone: I64
    used: I64
    hits: I64
    taken: I64
    calls_s: F64
    calls: I64
    begun: I64
    begun_s: F64
    begins_s: F64
    cached: I64
    queue: I64
    ends: I64


@inline
def reset(p: Problem, s: State, device: int) -> None:
    """Set a device's scratch state back to what it is now."""
    s.store[device, -1, CLOCK] = p.clock
    s.model_s[device, LOADER] = p.slots[device, 0, LOADER_AT]
    s.model_s[device, FROM] = p.now_s
    s.model_s[device, GATHER] = 0.0
    slots = p.slots.shape[1]
    for slot in range(slots):
        s.free_at_s[device, slot] = p.slots[device, slot, FREE]
    s.begins_s[device] = INF
    for slot in range(slots if slots > 1 else 0):
        at_s = p.slots[device, slot, CALL_AT]
        s.calls_s[device, slot, AT] = at_s if at_s > p.now_s else -INF
        if at_s > p.now_s:
            s.begins_s[device] = min(s.begins_s[device], at_s)
        s.calls_s[device, slot, GATHERS] = p.slots[device, slot, CALL_GATHER]
        s.calls_s[device, slot, WORKS] = p.slots[device, slot, CALL_WORK]
        s.calls[device, slot, NODE] = s.calls[device, slot, SOURCE] = -1
        s.calls[device, slot, USES] = int(p.slots[device, slot, IN_USE])
        s.calls[device, slot, SEAT] = int(p.slots[device, slot, SEQUENCE])
        s.calls[device, slot, ORDER] = slot - slots
    for model in range(p.rates.shape[1]):
        s.store[device, model, RESIDENT] = p.store[device, model, RESIDENT]
        s.store[device, model, USED] = p.store[device, model, USED]
        s.model_s[device, model] = p.rates[device, model, SETTLED_AT]
        for k in range(p.content.shape[2]):
            s.content[device, model, k, HELD] = p.content[device, model, k, HELD]
            s.content[device, model, k, HELD_USED] = p.content[device, model, k, HELD_USED]
    if p.cached[device, -1]:
        s.cached[device, -1], s.ends[device, 0], s.ends[device, 1] = 0, 0, 0
        for node in range(p.path_tokens.shape[0]):
            s.cached[device, node] = p.cached[device, node]
            if p.cached[device, node] >= 0:
                s.cached[device, -1] += p.path_tokens[node, OWN]
                s.ends[device, 1] += 1


@jit
def fresh_state(p: Problem) -> State:
    """Return the scratch state of all devices, as they are now."""
    devices, models = p.rates.shape[:2]
    slots, sequences = p.slots.shape[1], p.content.shape[2]
    s = State(
        np.zeros(p.slots.shape[:2]),
        np.zeros((devices, models + 3)),
        np.zeros((devices, models + 1, 2), np.int64),
        np.zeros(p.content.shape, np.int64),
        np.zeros(1 + models, np.int64),
        np.zeros(models + 1, np.int64),
        np.zeros(sequences, np.int64),
        np.zeros(sequences + 1, np.int64),
        np.zeros((devices, slots, 3)),
        np.zeros((devices, slots, 5), np.int64),
        np.zeros(2 + slots, np.int64),
        np.zeros(1 + slots),
        np.zeros(devices),
        np.zeros(p.cached.shape, np.int64),
        _queue(p),
        np.zeros((devices, 2), np.int64),
    )
    for device in range(devices):
        reset(p, s, device)
    return s


@jit
def _queue(p: Problem) -> I64:
    """Return room for every use of a path node, beginning with those that are cached now."""
    nodes, devices = p.path_tokens.shape[0], p.cached.shape[0]
    uses = nodes + p.ids.shape[0] * p.held.shape[1] if p.cached[:, -1].any() else 0
    queue = np.zeros((devices, uses, 2), np.int64)
    for device in range(devices if uses else 0):
        # Stable, from the highest number down: of nodes used at once the deepest come first.
        used_at = p.cached[device, :nodes][::-1].copy()
        count = 0
        for k in np.argsort(used_at, kind="mergesort"):
            if used_at[k] >= 0:
                queue[device, count, 0], queue[device, count, 1] = nodes - 1 - k, used_at[k]
                count += 1
    return queue


@inline
def usable_hit(hit: float, tokens: float) -> float:
    """See `domain.state.usable_hit`."""
    return min(hit, tokens - 1.0) if tokens > 0 else 0.0


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


@inline
def cache(p: Problem, s: State, device: int, node: int) -> None:
    """See `reference.cache`; the oldest use in the queue that is still up to date is the oldest."""
    content, clock = p.contents_now + node, s.store[device, -1, CLOCK]
    for k in range(p.held.shape[1] - 1, -1, -1):
        path_node = p.held[content, k]
        if path_node < 0:
            continue
        if s.cached[device, path_node] < 0:
            s.cached[device, -1] += p.path_tokens[path_node, OWN]
        s.cached[device, path_node] = clock
        end = s.ends[device, 1]
        s.queue[device, end, 0], s.queue[device, end, 1] = path_node, clock
        s.ends[device, 1] += 1
    while s.cached[device, -1] > p.cached[device, -1]:
        first = s.ends[device, 0]
        oldest = s.queue[device, first, 0]
        s.ends[device, 0] += 1
        if s.cached[device, oldest] == s.queue[device, first, 1]:
            s.cached[device, oldest] = -1
            s.cached[device, -1] -= p.path_tokens[oldest, OWN]


@inline
def content_tokens(p: Problem, content: int) -> int:
    """See `reference.content_tokens`."""
    tokens = 0
    for k in range(p.held.shape[1]):
        if p.held[content, k] < 0:
            break
        tokens = p.path_tokens[p.held[content, k], UPTO]
    return tokens


@inline
def _mark_taken(p: Problem, s: State, device: int, model: int, at_s: float, mark: int) -> None:
    """Mark what `reference_state.taken` tells of in `taken`; its last flag is for none (-1)."""
    for slot in range(p.slots.shape[1]):
        free_s = s.free_at_s[device, slot]
        there = (s.calls[device, slot, USES] == model) & (at_s < free_s) & (free_s < INF)
        s.taken[s.calls[device, slot, SEAT] if there else -1] = mark
        s.taken[s.calls[device, slot, SOURCE] if there else -1] = mark


@inline
def _choose_sequence(p: Problem, s: State, device: int, node: int) -> tuple[int, int]:
    """See `domain.state.choose_sequence`; also the first empty slot; each -1 if there is none.

    Fills `hits`; leaves out what is `taken`.
    """
    model, best, oldest, empty = p.ids[node, MODEL], -1, -1, -1
    several = p.slots.shape[1] > 1
    for k in range(p.content.shape[2]):
        content = s.content[device, model, k, HELD]
        if content == -2 or (several and s.taken[k]):
            continue
        if content == -1 and empty < 0:
            empty = k
        s.hits[k] = shared(p, node, content) if content >= 0 else 0
        used_at = s.content[device, model, k, HELD_USED]
        if best < 0:
            best = oldest = k
            continue
        older = used_at < s.content[device, model, best, HELD_USED]
        if s.hits[k] > s.hits[best] or (s.hits[k] == s.hits[best] and older):
            best = k
        if used_at < s.content[device, model, oldest, HELD_USED]:
            oldest = k
    if best >= 0 and (s.hits[best] < MIN_MATCH * p.sizes[node, FIRST] or s.hits[best] <= 0):
        best = oldest
    return best, empty


@inline
def find_sequence(p: Problem, s: State, device: int, node: int, at_s: float) -> Seat:
    """See `reference.find_sequence`; the call starts at `at_s`."""
    model, tokens = p.ids[node, MODEL], p.sizes[node, FIRST]
    if p.cached[device, -1]:
        return Seat(-1, usable_hit(float(leading(p, s, device, node)), tokens), 0.0, 0.0, -1)
    if p.slots.shape[1] > 1:
        _mark_taken(p, s, device, model, at_s, 1)
        best, empty = _choose_sequence(p, s, device, node)
        _mark_taken(p, s, device, model, at_s, 0)
    else:
        best, empty = _choose_sequence(p, s, device, node)
    if best < 0:
        return Seat(-1, 0.0, 0.0, 0.0, -1)
    hit, rates = float(s.hits[best]), p.rates[device, model]
    if empty >= 0 and hit > 0.0:
        held = float(content_tokens(p, s.content[device, model, best, HELD]))
        if _copy_pays(hit, held, CopyCosts(rates[PREFILL + 1], STATE_FIXED_S, rates[COPY])):
            copy_s = _copy_seconds(held, rates[COPY])
            return Seat(empty, 0.0, usable_hit(hit, tokens), copy_s, best)
    return Seat(best, usable_hit(hit, tokens), 0.0, 0.0, -1)
