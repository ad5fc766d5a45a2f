"""Calls that run at once on a device, compiled; see `reference_state`."""

from typing import NamedTuple

from fate.policy.kernel.compiled_state import (
    AT,
    CLOCK,
    FROM,
    GATHERS,
    INF,
    NODE,
    ORDER,
    SEAT,
    SOURCE,
    USES,
    WORKS,
    State,
    inline,
)
from fate.policy.kernel.problem import MODEL, SLOWDOWN, Problem


class Placed(NamedTuple):
    """See `reference_state.Placement`; `before_s` are the seconds before the prefill.

    `finish_s` is inf where a call cannot run.
    """

    finish_s: float
    slot: int
    sequence: int
    cached: float
    loaded_s: float
    before_s: float
    start_s: float
    unload_at_s: float
    call_at_s: float
    gather_s: float
    work_s: float
    source: int
    blocked: bool


@inline
def nowhere() -> Placed:
    """Return that a call cannot run."""
    return Placed(INF, 0, -1, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, -1, False)


@inline
def soonest(s: State, device: int) -> int:
    """Return the slot of a device that is free first."""
    slot = 0
    for k in range(1, s.free_at_s.shape[1]):
        if s.free_at_s[device, k] < s.free_at_s[device, slot]:
            slot = k
    return slot


@inline
def company(s: State, device: int, slot: int, at_s: float) -> int:
    """See `reference_state.company`; without branches, which nobody could foretell."""
    busy, slots = 0, s.free_at_s.shape[1]
    for other in range(slots if slots > 1 else 0):
        free_s, begins_s = s.free_at_s[device, other], s.calls_s[device, other, AT]
        busy += int((other != slot) & (at_s < free_s) & (free_s < INF) & (begins_s <= at_s))
    return busy


@inline
def mark_used(s: State, device: int, at_s: float) -> None:
    """Mark what `reference_state.in_use` tells of in `used`; its last flag is for none (-1)."""
    for model in range(s.used.shape[0]):
        s.used[model] = 0
    for slot in range(s.free_at_s.shape[1]):
        free_s = s.free_at_s[device, slot]
        busy = (at_s < free_s) & (free_s < INF)
        s.used[s.calls[device, slot, USES] if busy else -1] = 1


@inline
def _first_to_begin(s: State, device: int) -> int:
    """See `reference_state.first_to_begin`; there is one."""
    first = -1
    for slot in range(s.free_at_s.shape[1]):
        if s.calls_s[device, slot, AT] != s.begins_s[device]:
            continue
        if first < 0 or s.calls[device, slot, ORDER] < s.calls[device, first, ORDER]:
            first = slot
    return first


@inline
def _begin(p: Problem, s: State, device: int) -> None:
    """Let the call that begins first begin; see `reference_state.begin`."""
    slot = _first_to_begin(s, device)
    at_s, busy, next_s = s.begins_s[device], 0, INF
    for other in range(s.free_at_s.shape[1]):
        free_s, begins_s = s.free_at_s[device, other], s.calls_s[device, other, AT]
        begun = begins_s == -INF
        busy += int((other != slot) & begun & (at_s < free_s) & (free_s < INF))
        next_s = min(next_s, INF if begun | (other == slot) else begins_s)
    work_s = s.calls_s[device, slot, WORKS] * p.slots[device, busy, SLOWDOWN]
    end_s = (at_s + s.calls_s[device, slot, GATHERS]) + work_s
    s.free_at_s[device, slot] = end_s
    s.calls_s[device, slot, AT] = -INF
    s.calls[device, slot, SOURCE] = -1
    s.begins_s[device] = next_s
    note(s, int(s.calls[device, slot, NODE]), end_s)


@inline
def note(s: State, node: int, end_s: float) -> None:
    """Take note of a node that has begun."""
    s.begun_s[s.begun[0]] = end_s
    s.begun[0] += 1
    s.begun[s.begun[0]] = node


@inline
def settle(p: Problem, s: State, device: int, until_s: float) -> None:
    """See `reference_state.settle`; only for devices of several slots."""
    while s.begins_s[device] <= until_s and s.begins_s[device] < INF:
        _begin(p, s, device)


@inline
def settle_start(p: Problem, s: State, device: int) -> None:
    """See `reference_state.settle_start`; only for devices of several slots."""
    while s.begins_s[device] < INF:
        start_s = max(s.free_at_s[device, soonest(s, device)], s.model_s[device, FROM])
        if s.begins_s[device] > start_s:
            return
        _begin(p, s, device)


@inline
def next_seconds(s: State, device: int, after_s: float) -> float:
    """See `reference_state.next_seconds`.

    A call that has not begun does not end before it does: the guess at its end is never the next.
    """
    next_s, slots = INF, s.free_at_s.shape[1]
    if slots > 1 and s.begins_s[device] > after_s:
        next_s = s.begins_s[device]
    for slot in range(slots):
        free_s = s.free_at_s[device, slot]
        next_s = min(next_s, free_s if free_s > after_s else INF)
    for model in range(s.model_s.shape[1] + FROM):
        settled_s = s.model_s[device, model]
        next_s = min(next_s, settled_s if settled_s > after_s else INF)
    return next_s


@inline
def occupy(p: Problem, s: State, device: int, node: int, placed: Placed) -> None:
    """See `reference._occupy`."""
    slot = placed.slot
    s.calls[device, slot, NODE] = node
    s.calls[device, slot, USES] = p.ids[node, MODEL]
    s.calls[device, slot, ORDER] = s.store[device, -1, CLOCK]
    s.calls[device, slot, SEAT] = placed.sequence
    if placed.call_at_s > placed.start_s:
        s.calls[device, slot, SOURCE] = placed.source
        s.calls_s[device, slot, AT] = placed.call_at_s
        s.begins_s[device] = min(s.begins_s[device], placed.call_at_s)
        s.calls_s[device, slot, GATHERS] = placed.gather_s
        s.calls_s[device, slot, WORKS] = placed.work_s
    else:
        s.calls[device, slot, SOURCE] = -1
        s.calls_s[device, slot, AT] = -INF
        note(s, node, placed.finish_s)
