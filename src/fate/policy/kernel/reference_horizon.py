"""The horizon term: what a placement does to the generations below it, in plain Python.

For a call put on a device, the waiting children are placed, each on the device where it would
end first in the state as it would be then: what the placement loads, evicts, leaves in a sequence
and produces lies over the present state as a short list of tentative placements; nothing is
copied. Evictions by children, and what a reload evicts in turn, are those of the present state;
the sequence that the call itself overwrites counts as lost.

    fut(s, d) = mean over children c of share_c * (best_c + gamma * fut(c, best device of c))
    best_c    = min over devices e of wait_e + swap + gather + prefill + decode of c on e
    regret    = lam * (fut(s, d) - min over d' of fut(s, d'))

At most `branch` children count, evenly strided. `wait_e` is the time until e is free, plus the
time already given to siblings there. A child's shares over its open parents add up to at most one.
"""

from math import inf
from typing import NamedTuple

from fate.domain.state import usable_hit
from fate.policy.kernel.problem import Plain
from fate.policy.kernel.reference import (
    Future,
    appraise,
    evictions,
    gather_seconds,
    leading,
    shared,
    work_seconds,
)
from fate.policy.kernel.reference_state import Bench, benches


class Tentative(NamedTuple):
    """A placement laid over the present state; `sequence` is what it overwrites, -1 none."""

    node: int
    device: int
    model: int
    sequence: int


class Present(NamedTuple):
    """The state as it is, by device and model, computed once.

    `gone` is what a load evicts (None: it cannot fit), `swap_s` its seconds with the unloads;
    `stay_s` is the time of each waiting node on each device if nothing changes there.
    """

    benches: list[Bench]
    free_s: list[float]
    gone: list[list[list[int] | None]]
    swap_s: list[list[float]]
    stay_s: list[list[float]]


def horizon(p: Plain) -> Future:
    """Return [F, D] seconds of regret of each placement; 0 where a call cannot run."""
    future = [[0.0] * p.devices for _ in range(p.frontier)]
    if p.weights.depth < 1 or not p.child:
        return future
    present = _present(p)
    for node in range(p.frontier):
        below: dict[int, float] = {}
        for device in range(p.devices):
            placed = appraise(p, present.benches[device], device, node)
            if placed is not None:
                tentative = Tentative(node, device, p.model[node], placed.sequence)
                below[device] = _below(p, present, [tentative], placed.finish_s)
        least_s = min(below.values(), default=0.0)
        for device, seconds in below.items():
            future[node][device] = p.weights.lam * (seconds - least_s)
    return future


def _present(p: Plain) -> Present:
    state = benches(p)
    gone = [
        [
            list[int]() if bench.resident[model] else evictions(p, bench, device, model, inf)
            for model in range(len(bench.resident))
        ]
        for device, bench in enumerate(state)
    ]
    swap_s = [
        [_swap_seconds(p, device, model, found) for model, found in enumerate(row)]
        for device, row in enumerate(gone)
    ]
    free_s = [max(min(bench.free_at_s), p.now_s) for bench in state]
    present = Present(state, free_s, gone, swap_s, [[] for _ in p.model])
    for node in range(p.frontier, len(p.model)):
        present.stay_s[node].extend(
            _seconds(p, present, [], node, device) for device in range(p.devices)
        )
    return present


def _swap_seconds(p: Plain, device: int, model: int, gone: list[int] | None) -> float:
    if gone is None:
        return inf
    seconds = 0.0
    for other in gone:
        seconds = seconds + p.unload_s[device][other]
    return seconds + p.load_s[device][model]


def _below(p: Plain, present: Present, overlay: list[Tentative], finish_s: float) -> float:
    """Return the seconds that lie below the last tentative placement, which ends at `finish_s`.

    A child's own seconds are shared among its parents; what this parent's output takes to reach it
    is this parent's alone.
    """
    parent, weights = overlay[-1], p.weights
    first, last = p.child_ptr[parent.node], p.child_ptr[parent.node + 1]
    if first == last or len(overlay) > weights.depth:
        return 0.0
    given_s, total_s, moved_s, seen = [0.0] * p.devices, 0.0, 0.0, 0
    for edge in range(first, last, max(1, (last - first) // weights.branch)):
        if seen == weights.branch:
            break
        seen += 1
        child = p.child[edge]
        best_s, wait_s, device = _best_device(p, present, overlay, (child, finish_s), given_s)
        if device < 0:
            continue
        given_s[device] = given_s[device] + (best_s - wait_s)
        further = [*overlay, Tentative(child, device, p.model[child], -1)]
        below_s = _below(p, present, further, finish_s + best_s)
        gather_s = gather_seconds(p, parent.node, parent.device, device)
        own_s = (best_s - gather_s) + weights.gamma * below_s
        total_s = total_s + p.child_share[edge] * own_s
        moved_s = moved_s + gather_s
    return (total_s + moved_s * (1.0 + weights.spread * (last - first - 1))) / seen


def _best_device(
    p: Plain,
    present: Present,
    overlay: list[Tentative],
    at: tuple[int, float],
    given_s: list[float],
) -> tuple[float, float, int]:
    """Return (seconds until done, of which waiting, device) for a child; device -1 if nowhere."""
    child, finish_s = at
    source = overlay[-1]
    best_s, best_wait_s, best = inf, 0.0, -1
    for device in range(p.devices):
        wait_s = 0.0
        if p.weights.reachability:
            if not p.eligible[child][device]:
                continue
            wait_s = max(0.0, present.free_s[device] - finish_s) + given_s[device]
        gather_s = gather_seconds(p, source.node, source.device, device)
        gather_s = p.transfer_s[child][device] + gather_s
        if any(tentative.device == device for tentative in overlay):
            own_s = _seconds(p, present, overlay, child, device)
        else:
            own_s = present.stay_s[child][device]
        end_s = wait_s + (own_s + gather_s)
        if end_s < best_s:
            best_s, best_wait_s, best = end_s, wait_s, device
    return best_s, best_wait_s, best


def _seconds(p: Plain, present: Present, overlay: list[Tentative], node: int, device: int) -> float:
    """Return swap, prefill and decode seconds of a node on a device under an overlay."""
    model, bench = p.model[node], present.benches[device]
    resident, best = bool(bench.resident[model]), 0
    if bench.cache_tokens:
        best = leading(p, bench, node)
    lost = -1
    if overlay and overlay[0].device == device and overlay[0].model == model:
        lost = overlay[0].sequence
    for slot, content in enumerate(bench.content[model]):
        if content >= 0 and slot != lost:
            best = max(best, shared(p, node, content))
    for tentative in overlay:
        if tentative.device != device:
            continue
        if tentative.model == model:
            resident = True
            best = max(best, shared(p, node, p.contents_now + tentative.node))
        elif resident and model in (present.gone[device][tentative.model] or ()):
            resident = False
            best = best if p.parks[device][model] else 0
    swap_s = 0.0 if resident else present.swap_s[device][model]
    return swap_s + work_seconds(p, node, device, usable_hit(float(best), p.first_tokens[node]))
