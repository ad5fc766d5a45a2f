"""Placing calls on devices under a changing state: the specification, in plain Python.

A device's list is replayed in order. Each call takes the slot that is free first (k-server list
scheduling; exact for one slot) and runs through the chain the core would start:

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
from fate.policy.kernel.problem import OWN, UPTO, Plain, Seat

#: Node indices by device, in the order in which they are to run.
Orders: TypeAlias = list[list[int]]
#: [F, D] seconds of regret, see `reference_horizon`.
Future: TypeAlias = list[list[float]]


class Bench:
    """The state of one device while a list is replayed on it.

    Nothing starts before `from_s`; `gather_s` is what a call has to gather beside the outputs
    that lie on devices now.
    """

    __slots__ = (
        "cache_tokens",
        "cached_at",
        "cached_tokens",
        "clock",
        "content",
        "content_used_at",
        "free_at_s",
        "from_s",
        "gather_s",
        "loaded_at_s",
        "loader_at_s",
        "parks",
        "resident",
        "used_at",
        "used_until_s",
    )

    def __init__(self, p: Plain, device: int) -> None:
        models = len(p.load_s[device])
        self.clock = p.clock
        self.from_s, self.gather_s = p.now_s, 0.0
        self.free_at_s = list(p.free_at_s[device])
        self.resident = list(p.resident[device])
        self.used_at = list(p.used_at[device])
        self.content = [list(row) for row in p.content[device]]
        self.content_used_at = [list(row) for row in p.content_used_at[device]]
        self.loaded_at_s = [-inf] * models
        self.used_until_s = [-inf] * models
        self.loader_at_s = -inf
        self.parks = p.parks[device]
        self.cache_tokens = p.cache_tokens[device]
        self.cached_at, self.cached_tokens = p.cached_at[device], 0
        if self.cache_tokens:
            self.cached_at = list(self.cached_at)
            self.cached_tokens = sum(
                tokens[0]
                for tokens, used_at in zip(p.path_tokens, self.cached_at, strict=True)
                if used_at >= 0
            )


class Placement(NamedTuple):
    """What would happen to a call: where and when it ends, and what it changes.

    `terms` are its seconds of (unload, load, transfer with a move, prefill + decode).
    """

    finish_s: float
    slot: int
    sequence: int
    cached: float
    gone: list[int]
    loaded_s: float
    terms: tuple[float, float, float, float]


def benches(p: Plain) -> list[Bench]:
    """Return every device's state as it is now."""
    return [Bench(p, device) for device in range(p.devices)]


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


def evictions(p: Plain, bench: Bench, device: int, model: int) -> list[int] | None:
    """Return the models to unload before `model` is loaded; None if it cannot fit."""
    footprint, pinned = p.footprint_bytes[device], p.pinned[device]
    free, movable = p.memory_bytes[device], list[int]()
    for other, is_resident in enumerate(bench.resident):
        if is_resident:
            free -= footprint[other]
            if not pinned[other]:
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
    """Return the sequence slot for a call, its model being loaded."""
    model, tokens = p.model[node], p.first_tokens[node]
    if bench.cache_tokens:
        return Seat(-1, float(usable_hit(leading(p, bench, node), tokens)), 0.0, 0.0)
    contents = [content for content in bench.content[model] if content != -2]
    hits = [shared(p, node, content) if content >= 0 else 0 for content in contents]
    if not hits:
        return Seat(-1, 0.0, 0.0, 0.0)
    slot = choose_sequence(hits, bench.content_used_at[model][: len(hits)], tokens)
    cached = float(usable_hit(hits[slot], tokens))
    if -1 in contents and hits[slot] > 0:
        held, copy_s = content_tokens(p, contents[slot]), p.copy_s[device][model]
        costs = CopyCosts(p.prefill[device][model][1], STATE_FIXED_S, copy_s)
        if copy_pays(hits[slot], held, costs):
            return Seat(contents.index(-1), 0.0, cached, copy_seconds(float(held), copy_s))
    return Seat(slot, cached, 0.0, 0.0)


def bring(p: Plain, node: int, device: int, seat: Seat, busy: int) -> tuple[float, float, float]:
    """Return (transfer, work, cached tokens) of a call: a state is brought where that pays.

    It is copied from another sequence or moved from another device; `busy` other calls run.
    """
    cached, bring_s, factor = seat.cached, 0.0, p.slowdown[device][busy]
    work_s = work_seconds(p, node, device, cached) * factor
    if seat.copied > 0.0:
        copied_s = work_seconds(p, node, device, seat.copied) * factor
        if seat.copy_s + copied_s < work_s:
            cached, bring_s, work_s = seat.copied, seat.copy_s, copied_s
    moved, move_s = p.moved[node][device], p.move_s[node][device]
    if moved > seat.cached and seat.sequence >= 0:
        moved_s = work_seconds(p, node, device, moved) * factor
        if move_s + moved_s < bring_s + work_s:
            cached, bring_s, work_s = moved, move_s, moved_s
    return p.transfer_s[node][device] + bring_s, work_s, cached


def appraise(p: Plain, bench: Bench, device: int, node: int) -> Placement | None:
    """Return what running `node` next on `device` would take; None if it cannot run there."""
    if not p.eligible[node][device]:
        return None
    model, free_at_s = p.model[node], bench.free_at_s
    slot = free_at_s.index(min(free_at_s))
    start_s = max(free_at_s[slot], bench.from_s)
    busy = sum(1 for at_s in free_at_s if start_s < at_s < inf)
    gone, unload_s, load_s = list[int](), 0.0, 0.0
    if bench.resident[model]:
        loaded_s = max(start_s, bench.loaded_at_s[model])
    else:
        found = evictions(p, bench, device, model)
        if found is None:
            return None
        gone, begin_s = found, max(start_s, bench.loader_at_s)
        for other in gone:
            begin_s = max(begin_s, bench.used_until_s[other])
            unload_s = unload_s + p.unload_s[device][other]
        load_s = p.load_s[device][model]
        loaded_s = begin_s + unload_s + load_s
    seat = find_sequence(p, bench, device, node)
    transfer_s, work_s, cached = bring(p, node, device, seat, busy)
    transfer_s = transfer_s + bench.gather_s
    finish_s = loaded_s + transfer_s + work_s
    if not finish_s < inf:
        return None
    terms = (unload_s, load_s, transfer_s, work_s)
    return Placement(finish_s, slot, seat.sequence, cached, gone, loaded_s, terms)


def commit(p: Plain, bench: Bench, node: int, placed: Placement) -> None:
    """Change a device's state to what it is once the call has run."""
    model = p.model[node]
    for other in placed.gone:
        bench.resident[other] = 0
        if not bench.parks[other]:
            bench.content[other] = [min(c, -1) for c in bench.content[other]]
            bench.content_used_at[other] = [0] * len(bench.content[other])
    if not bench.resident[model]:
        bench.resident[model] = 1
        bench.loaded_at_s[model] = bench.loader_at_s = placed.loaded_s
    bench.used_at[model] = bench.clock
    if placed.sequence >= 0:
        bench.content[model][placed.sequence] = p.contents_now + node
        bench.content_used_at[model][placed.sequence] = bench.clock
    if bench.cache_tokens:
        cache(p, bench, node)
    bench.used_until_s[model] = max(bench.used_until_s[model], placed.finish_s)
    bench.free_at_s[placed.slot] = placed.finish_s
    bench.clock += 1


def cache(p: Plain, bench: Bench, node: int) -> None:
    """Put what a call leaves behind into a cache of blocks, see `domain.cache`."""
    for path_node in p.held[p.contents_now + node]:
        if path_node < 0:
            break
        if bench.cached_at[path_node] < 0:
            bench.cached_tokens += p.path_tokens[path_node][OWN]
        bench.cached_at[path_node] = bench.clock
    while bench.cached_tokens > bench.cache_tokens:
        oldest = -1
        for path_node, used_at in enumerate(bench.cached_at):
            if used_at >= 0 and (oldest < 0 or used_at <= bench.cached_at[oldest]):
                oldest = path_node  # of a path that was used at once the deepest
        bench.cached_at[oldest] = -1
        bench.cached_tokens -= p.path_tokens[oldest][OWN]


def replay(p: Plain, orders: Orders) -> list[float]:
    """Return [F] when each call ends; inf for calls in no list, or where they cannot run."""
    finish_s = [inf] * p.frontier
    for device, order in enumerate(orders):
        bench = Bench(p, device)
        for node in order:
            placed = appraise(p, bench, device, node)
            if placed is not None:
                commit(p, bench, node, placed)
                finish_s[node] = placed.finish_s
    return finish_s


def device_value(
    p: Plain, device: int, order: list[int], future: Future, spare_s: float = inf
) -> tuple[float, float]:
    """Return a device's (latest end of any path through it, sum of its other cost).

    (inf, inf) if a call cannot run there, or once the two together exceed `spare_s`: neither can
    shrink again as the list goes on.
    """
    tau, eps = p.weights.tau, p.weights.eps
    latest_s, total_s = p.now_s, 0.0
    bench = Bench(p, device)
    for node in order:
        placed = appraise(p, bench, device, node)
        if placed is None:
            return inf, inf
        commit(p, bench, node, placed)
        latest_s = max(latest_s, placed.finish_s + tau * p.tail_s[node])
        total_s = total_s + (eps * (placed.finish_s - p.now_s) + future[node][device])
        if (latest_s - p.now_s) + total_s > spare_s:
            return inf, inf
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
