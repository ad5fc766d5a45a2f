"""The horizon term, compiled; read `reference_horizon` for what this computes."""

from typing import NamedTuple

import numpy as np

from fate.domain.snapshot import F64, I64, U8
from fate.policy.kernel.compiled import (
    INF,
    State,
    appraise,
    evictions,
    fresh_state,
    jit,
    usable_hit,
    work_seconds,
)
from fate.policy.kernel.problem import Problem


class _Present(NamedTuple):
    """See `reference_horizon.Present`; `gone` [D, M, M] flags what a load evicts."""

    state: State
    free_s: F64
    gone: U8
    swap_s: F64
    stay_s: F64


class _Overlay(NamedTuple):
    """Tentative placements by depth, and the time given to siblings [depth, D]."""

    node: I64
    device: I64
    given_s: F64
    overwritten: I64


@jit
def _seconds(
    p: Problem, present: _Present, over: _Overlay, count: int, node: int, device: int
) -> float:
    s, model, best = present.state, p.model[node], 0
    resident = s.resident[device, model] != 0
    if resident:
        lost = -1
        if count > 0 and over.device[0] == device and p.model[over.node[0]] == model:
            lost = over.overwritten[0]
        for k in range(p.content.shape[2]):
            content = s.content[device, model, k]
            if content >= 0 and k != lost:
                best = max(best, p.hit[node, content])
    for i in range(count):
        if over.device[i] != device:
            continue
        other = over.node[i]
        if p.model[other] == model:
            resident = True
            best = max(best, p.hit[node, p.contents_now + other])
        elif resident and present.gone[device, p.model[other], model]:
            resident, best = False, 0
    swap_s = 0.0 if resident else present.swap_s[device, model]
    return swap_s + work_seconds(p, node, device, usable_hit(float(best), p.first_tokens[node]))


@jit
def _best_device(
    p: Problem, present: _Present, over: _Overlay, count: int, child: int, finish_s: float
) -> tuple[float, float, int]:
    source, at = int(over.node[count - 1]), int(over.device[count - 1])
    best_s, best_wait_s, best = INF, 0.0, -1
    for device in range(p.load_s.shape[0]):
        wait_s = 0.0
        if p.weights.reachability:
            if not p.eligible[child, device]:
                continue
            wait_s = max(0.0, present.free_s[device] - finish_s) + over.given_s[count, device]
        link_s = p.link[at, device, 0] + p.output_bytes[source] * p.link[at, device, 1]
        gather_s = p.transfer_s[child, device] + link_s
        touched = False
        for i in range(count):
            touched = touched or over.device[i] == device
        if touched:
            own_s = _seconds(p, present, over, count, child, device)
        else:
            own_s = present.stay_s[child, device]
        end_s = wait_s + (own_s + gather_s)
        if end_s < best_s:
            best_s, best_wait_s, best = end_s, wait_s, device
    return best_s, best_wait_s, best


@jit
def _below(p: Problem, present: _Present, over: _Overlay, count: int, finish_s: float) -> float:
    node = over.node[count - 1]
    first, last = p.child_ptr[node], p.child_ptr[node + 1]
    if first == last or count > p.weights.depth:
        return 0.0
    over.given_s[count, :] = 0.0
    total_s, seen = 0.0, 0
    for edge in range(first, last, max(1, (last - first) // p.weights.branch)):
        if seen == p.weights.branch:
            break
        seen += 1
        child = p.child[edge]
        best_s, wait_s, device = _best_device(p, present, over, count, child, finish_s)
        if device < 0:
            continue
        over.given_s[count, device] = over.given_s[count, device] + (best_s - wait_s)
        over.node[count], over.device[count] = child, device
        below_s = _below(p, present, over, count + 1, finish_s + best_s)
        total_s = total_s + p.child_share[edge] * (best_s + p.weights.gamma * below_s)
    return total_s / seen


@jit
def _present(p: Problem, s: State, over: _Overlay) -> _Present:
    devices, models = p.load_s.shape
    nodes = p.model.shape[0]
    present = _Present(
        s,
        np.zeros(devices),
        np.zeros((devices, models, models), np.uint8),
        np.zeros((devices, models)),
        np.zeros((nodes, devices)),
    )
    for device in range(devices):
        free_s = INF
        for k in range(s.free_at_s.shape[1]):
            free_s = min(free_s, s.free_at_s[device, k])
        present.free_s[device] = max(free_s, p.now_s)
        for model in range(models):
            s.gone[0] = 0
            if not s.resident[device, model] and not evictions(p, s, device, model):
                present.swap_s[device, model] = INF
                continue
            seconds = 0.0
            for i in range(s.gone[0]):
                present.gone[device, model, s.gone[1 + i]] = 1
                seconds = seconds + p.unload_s[device, s.gone[1 + i]]
            present.swap_s[device, model] = seconds + p.load_s[device, model]
    for node in range(p.frontier, nodes):
        for device in range(devices):
            present.stay_s[node, device] = _seconds(p, present, over, 0, node, device)
    return present


@jit
def horizon(p: Problem) -> F64:
    """See `reference_horizon.horizon`."""
    devices, levels = p.load_s.shape[0], p.weights.depth + 2
    future = np.zeros((p.frontier, devices))
    if p.weights.depth < 1 or p.child.shape[0] == 0:
        return future
    s = fresh_state(p)
    over = _Overlay(
        np.zeros(levels, np.int64),
        np.zeros(levels, np.int64),
        np.zeros((levels, devices)),
        np.zeros(1, np.int64),
    )
    present, below = _present(p, s, over), np.zeros(devices)
    for node in range(p.frontier):
        least_s = INF
        for device in range(devices):
            finish_s, _, sequence, _, _, _ = appraise(p, s, device, node)
            below[device] = INF
            if finish_s < INF:
                over.node[0], over.device[0], over.overwritten[0] = node, device, sequence
                below[device] = _below(p, present, over, 1, finish_s)
                least_s = min(least_s, below[device])
        for device in range(devices):
            if below[device] < INF:
                future[node, device] = p.weights.lam * (below[device] - least_s)
    return future
