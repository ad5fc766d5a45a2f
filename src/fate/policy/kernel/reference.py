"""Placing calls on devices under a changing state: the specification, in plain Python.

A device's list is replayed in order. Each call takes the slot that is free first (k-server list
scheduling) and runs through the chain the core would start:

    [evict: unload ...] -> [load] -> gather parents' outputs -> [move] -> prefill -> decode

where a move brings a KV state from another device or from another sequence of this one. What the
call leaves behind (residency, the sequence it filled, times) is what the next call meets. An
evicted model's sequences are gone, or come back with it where the device parks them.
Ties are broken by node index, then device index, then slot index: lowest first.

`compiled` repeats this file expression by expression; both must agree to the last bit.
"""

from math import inf
from typing import NamedTuple, TypeAlias

from fate.cost.terms import STATE_FIXED_S, call_seconds, copy_seconds
from fate.domain.state import (
    CopyCosts,
    choose_evictions,
    choose_sequence,
    copy_pays,
    usable_hit,
)
from fate.policy.kernel.problem import UPTO, Plain, Seat
from fate.policy.kernel.reference_state import (
    Bench,
    Calls,
    Placement,
    begun,
    cache,
    company,
    in_use,
    next_seconds,
    settle,
    settle_start,
    start_seconds,
    taken,
)

#: Node indices by device, in the order in which they are to run.
Orders: TypeAlias = list[list[int]]
#: [F, D] seconds of regret, see `reference_horizon`.
Future: TypeAlias = list[list[float]]


def work_seconds(p: Plain, node: int, device: int, cached: float) -> float:
    """Return the seconds of prefill and decode of all items, the first behind `cached` tokens."""
    model = p.model[node]
    return call_seconds(
        p.first_tokens[node],
        cached,
        (p.rest_items[node], p.rest_tokens[node], p.head_tokens[node]),
        p.output_tokens[node],
        p.prefill[device][model],
        p.decode[device][model],
    )


def evictions(p: Plain, bench: Bench, device: int, model: int, at_s: float) -> list[int] | None:
    """Return the models to unload before `model` is loaded; None if it cannot fit.

    Models in use or on their way in at `at_s` stay; with inf none is.
    """
    footprint, pinned = p.footprint_bytes[device], p.pinned[device]
    free, movable = p.memory_bytes[device], list[int]()
    for other, is_resident in enumerate(bench.resident):
        if is_resident:
            free -= footprint[other]
            idle = bench.settled_at_s[other] <= at_s and not in_use(bench, other, at_s)
            if idle and not pinned[other]:
                movable.append(other)
    if footprint[model] <= free:
        return []
    chosen = choose_evictions(
        [(bench.used_at[other], footprint[other]) for other in movable], free, footprint[model]
    )
    return None if chosen is None else [movable[i] for i in chosen]


def shared(p: Plain, node: int, content: int) -> int:
    """Return the leading tokens of a node's prompt that a content holds."""
    tokens = 0
    for mine, theirs in zip(p.prompt[node], p.held[content], strict=True):
        if mine < 0 or mine != theirs:
            break
        tokens = p.path_tokens[mine][UPTO]
    return tokens


def leading(p: Plain, bench: Bench, node: int) -> int:
    """Return the leading tokens of a node's prompt that a cache of blocks holds."""
    tokens = 0
    for path_node in p.prompt[node]:
        if path_node < 0 or bench.cached_at[path_node] < 0:
            break
        tokens = p.path_tokens[path_node][UPTO]
    return tokens


def content_tokens(p: Plain, content: int) -> int:
    """Return the tokens of a content."""
    tokens = 0
    for path_node in p.held[content]:
        if path_node < 0:
            break
        tokens = p.path_tokens[path_node][UPTO]
    return tokens


def gather_seconds(p: Plain, node: int, source: int, device: int) -> float:
    """Return the seconds to bring a node's output from a device to another; nothing takes none."""
    size = p.output_bytes[node]
    fixed_s, byte_s = p.link[source][device]
    return fixed_s + size * byte_s if size > 0.0 else 0.0


def find_sequence(p: Plain, bench: Bench, device: int, node: int) -> Seat:
    """Return the sequence slot for the next call, its model being loaded; those in use are not."""
    model, tokens = p.model[node], p.first_tokens[node]
    if bench.cache_tokens:
        return Seat(-1, float(usable_hit(leading(p, bench, node), tokens)), 0.0, 0.0, -1)
    busy, held = taken(bench, model, start_seconds(bench)), bench.content[model]
    free = [k for k, content in enumerate(held) if content != -2 and k not in busy]
    hits = [shared(p, node, held[k]) if held[k] >= 0 else 0 for k in free]
    if not hits:
        return Seat(-1, 0.0, 0.0, 0.0, -1)
    best = choose_sequence(hits, [bench.content_used_at[model][k] for k in free], tokens)
    slot, cached = free[best], float(usable_hit(hits[best], tokens))
    empty = next((k for k in free if held[k] == -1), -1)
    if empty >= 0 and hits[best] > 0:
        size, copy_s = content_tokens(p, held[slot]), p.copy_s[device][model]
        costs = CopyCosts(p.prefill[device][model][1], STATE_FIXED_S, copy_s)
        if copy_pays(hits[best], size, costs):
            return Seat(empty, 0.0, cached, copy_seconds(float(size), copy_s), slot)
    return Seat(slot, cached, 0.0, 0.0, -1)


def bring(p: Plain, node: int, device: int, seat: Seat) -> tuple[float, float, float, int]:
    """Return (seconds to bring a state, work, cached tokens, sequence copied) of a call.

    A state is brought where that pays: copied from another sequence, or moved from another device.
    """
    cached, bring_s, source = seat.cached, 0.0, -1
    work_s = work_seconds(p, node, device, cached)
    if seat.copied > 0.0:
        copied_s = work_seconds(p, node, device, seat.copied)
        if seat.copy_s + copied_s < work_s:
            cached, bring_s, work_s, source = seat.copied, seat.copy_s, copied_s, seat.source
    moved, move_s = p.moved[node][device], p.move_s[node][device]
    if moved > seat.cached and seat.sequence >= 0:
        moved_s = work_seconds(p, node, device, moved)
        if move_s + moved_s < bring_s + work_s:
            cached, bring_s, work_s, source = moved, move_s, moved_s, -1
    return bring_s, work_s, cached, source


class _Swap(NamedTuple):
    """What a call does to models: see `Placement`."""

    gone: list[int]
    unload_at_s: float
    unload_s: float
    load_s: float
    loaded_s: float
    blocked: bool


def _swap(p: Plain, bench: Bench, device: int, model: int, start_s: float) -> _Swap | None:
    """Return how a model comes to be there for a call that starts at a time; None if it cannot."""
    settled_s = bench.settled_at_s[model]
    if bench.resident[model]:
        return _Swap([], start_s, 0.0, 0.0, max(start_s, settled_s), blocked=False)
    blocked = settled_s > start_s
    gone = evictions(p, bench, device, model, start_s)
    if gone is None:
        blocked, gone = True, evictions(p, bench, device, model, inf)
    if gone is None:
        return None
    begin_s = max(start_s, bench.loader_at_s, settled_s)
    if blocked and bench.calls is not None:
        for used, free_s in zip(bench.calls.model, bench.free_at_s, strict=True):
            if used in gone and free_s < inf:
                begin_s = max(begin_s, free_s)
    at_s, unload_s = begin_s, 0.0
    for other in gone:
        at_s = at_s + p.unload_s[device][other]
        unload_s = unload_s + p.unload_s[device][other]
    load_s = p.load_s[device][model]
    return _Swap(gone, begin_s, unload_s, load_s, at_s + load_s, blocked)


def appraise(p: Plain, bench: Bench, device: int, node: int) -> Placement | None:
    """Return what running `node` next on `device` would take; None if it cannot run there.

    That is exact if no call has yet to begin, and none can begin before this one.
    """
    if not p.eligible[node][device]:
        return None
    slot, start_s = bench.free_at_s.index(min(bench.free_at_s)), start_seconds(bench)
    swap = _swap(p, bench, device, p.model[node], start_s)
    if swap is None:
        return None
    seat = find_sequence(p, bench, device, node)
    bring_s, work_s, cached, source = bring(p, node, device, seat)
    gather_s = p.transfer_s[node][device] + bench.gather_s
    call_at_s = swap.loaded_s + bring_s
    slowed_s = work_s * p.slowdown[device][company(bench, slot, call_at_s)]
    finish_s = (call_at_s + gather_s) + slowed_s
    if not finish_s < inf:
        return None
    return Placement(
        finish_s,
        slot,
        seat.sequence,
        cached,
        swap.gone,
        swap.loaded_s,
        (swap.unload_s, swap.load_s, bring_s + gather_s, slowed_s),
        start_s,
        swap.unload_at_s,
        call_at_s,
        gather_s,
        work_s,
        source,
        swap.blocked,
    )


def commit(p: Plain, bench: Bench, node: int, placed: Placement) -> Placement:
    """Change a device's state to what it is once the call has started; return what comes of it.

    Before that, other calls begin, and whoever uses the memory that it needs comes to an end.
    """
    if bench.calls is not None or placed.blocked:
        placed = _start(p, bench, node, placed)
    _apply(p, bench, node, placed)
    return placed


def _start(p: Plain, bench: Bench, node: int, placed: Placement) -> Placement:
    """Return what a call takes that starts as soon as it can; let others begin before it."""
    from_s = bench.from_s
    while True:
        settle_start(p, bench)
        found = appraise(p, bench, bench.device, node)
        assert found is not None
        change_s = next_seconds(bench, found.start_s) if found.blocked else inf
        if not change_s < inf:
            bench.from_s = from_s
            return found
        bench.from_s = change_s


def _apply(p: Plain, bench: Bench, node: int, placed: Placement) -> None:
    model, at_s = p.model[node], placed.unload_at_s
    for other in placed.gone:
        at_s = at_s + p.unload_s[bench.device][other]
        bench.resident[other], bench.settled_at_s[other] = 0, at_s
        if not bench.parks[other]:
            bench.content[other] = [min(c, -1) for c in bench.content[other]]
            bench.content_used_at[other] = [0] * len(bench.content[other])
    if not bench.resident[model]:
        bench.resident[model] = 1
        bench.settled_at_s[model] = bench.loader_at_s = placed.loaded_s
    bench.used_at[model] = bench.clock
    if placed.sequence >= 0:
        bench.content[model][placed.sequence] = p.contents_now + node
        bench.content_used_at[model][placed.sequence] = bench.clock
    if bench.cache_tokens:
        cache(p, bench, node)
    bench.free_at_s[placed.slot] = placed.finish_s
    if bench.calls is not None:
        _occupy(bench.calls, node, model, placed, bench.clock)
    bench.clock += 1


def _occupy(calls: Calls, node: int, model: int, placed: Placement, clock: int) -> None:
    """Take note of who is in a slot."""
    slot = placed.slot
    calls.node[slot], calls.model[slot], calls.order[slot] = node, model, clock
    calls.sequence[slot], calls.source[slot] = placed.sequence, placed.source
    if placed.call_at_s > placed.start_s:
        calls.at_s[slot] = placed.call_at_s
        calls.gather_s[slot], calls.work_s[slot] = placed.gather_s, placed.work_s
    else:
        calls.at_s[slot], calls.source[slot] = -inf, -1
        calls.begun.append((node, placed.finish_s))


def replay(p: Plain, orders: Orders) -> list[float]:
    """Return [F] when each call ends; inf for calls in no list, or where they cannot run."""
    finish_s = [inf] * p.frontier
    for device, order in enumerate(orders):
        bench = Bench(p, device)
        for node in order:
            placed = appraise(p, bench, device, node)
            if placed is not None:
                finish_s[node] = commit(p, bench, node, placed).finish_s
        settle(p, bench, inf)
        for node, end_s in begun(bench):
            if node >= 0:
                finish_s[node] = end_s
    return finish_s


def device_value(
    p: Plain, device: int, order: list[int], future: Future, spare_s: float = inf
) -> tuple[float, float]:
    """Return a device's (latest end of any path through it, sum of its other cost).

    (inf, inf) if a call cannot run there, or once the two together exceed `spare_s`: neither can
    shrink again as the list goes on. A call counts once it has begun.
    """
    latest_s, total_s = p.now_s, 0.0
    bench = Bench(p, device)
    for node in order:
        placed = appraise(p, bench, device, node)
        if placed is None:
            return inf, inf
        placed = commit(p, bench, node, placed)
        ends = [(node, placed.finish_s)] if bench.calls is None else begun(bench)
        latest_s, total_s = _count(p, device, ends, future, (latest_s, total_s))
        if (latest_s - p.now_s) + total_s > spare_s:
            return inf, inf
    settle(p, bench, inf)
    return _count(p, device, begun(bench), future, (latest_s, total_s))


def _count(
    p: Plain,
    device: int,
    ends: list[tuple[int, float]],
    future: Future,
    value: tuple[float, float],
) -> tuple[float, float]:
    """Return the value of a device with the ends of further calls counted."""
    latest_s, total_s = value
    for node, end_s in ends:
        if node >= 0:
            latest_s = max(latest_s, end_s + p.weights.tau * p.tail_s[node])
            total_s = total_s + (p.weights.eps * (end_s - p.now_s) + future[node][device])
    return latest_s, total_s


def plan_value(p: Plain, values: list[tuple[float, float]]) -> float:
    """Return J of a plan from the values of its devices."""
    latest_s, total_s = p.now_s, 0.0
    for device_latest_s, device_total_s in values:
        latest_s = max(latest_s, device_latest_s)
        total_s = total_s + device_total_s
    return (latest_s - p.now_s) + total_s


def objective(p: Plain, orders: Orders, future: Future) -> float:
    """Return J of a plan [s], lower is better; inf if a call cannot run where it is put.

    J = max over calls of (finish + tau * tail) - now + eps * sum of (finish - now) + regret.
    Calls in no list do not count: compare plans only over the same calls.
    """
    return plan_value(p, [device_value(p, d, order, future) for d, order in enumerate(orders)])
