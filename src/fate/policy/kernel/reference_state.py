"""The state of one device while calls are placed on it: the specification, in plain Python.

Where a device runs several calls at once, a call takes longer by the factor for the calls that run
when it begins, itself among them. It begins behind its loads and moves: calls that start meanwhile,
and begin before it, count. Until then its end is a guess that goes by what is known.

`compiled_state` repeats this file expression by expression; both must agree to the last bit.
"""

from math import inf
from typing import NamedTuple

from fate.policy.kernel.problem import OWN, Plain


class Calls:
    """What runs in the slots of a device that has several, by slot.

    A call that has not begun begins at `at_s`, which is -inf for others: it gathers for `gather_s`
    and works for `work_s` if it is alone. It uses a model and a sequence, copies another sequence
    (`source`) before it begins, and is the node `node`; -1 none. Of calls that begin at once the
    first in `order` is the first. `begun` has the nodes that have begun, with their ends, until
    somebody takes them.
    """

    __slots__ = (
        "at_s",
        "begun",
        "gather_s",
        "model",
        "node",
        "order",
        "sequence",
        "source",
        "work_s",
    )

    def __init__(self, p: Plain, device: int) -> None:
        slots = len(p.free_at_s[device])
        self.at_s = [at_s if at_s > p.now_s else -inf for at_s in p.call_at_s[device]]
        self.gather_s = list(p.call_gather_s[device])
        self.work_s = list(p.call_work_s[device])
        self.model = list(p.running_model[device])
        self.sequence = list(p.running_sequence[device])
        self.source, self.node = [-1] * slots, [-1] * slots
        self.order = [slot - slots for slot in range(slots)]
        self.begun = list[tuple[int, float]]()


class Bench:
    """The state of one device while a list is replayed on it.

    Nothing starts before `from_s`; `gather_s` is what a call has to gather beside the outputs
    that lie on devices now. A model that is resident is loaded at `settled_at_s`, another one is
    gone by then; `loader_at_s` is when the loader has done all that. `calls` is None with one slot.
    """

    __slots__ = (
        "cache_tokens",
        "cached_at",
        "cached_tokens",
        "calls",
        "clock",
        "content",
        "content_used_at",
        "device",
        "free_at_s",
        "from_s",
        "gather_s",
        "loader_at_s",
        "parks",
        "resident",
        "settled_at_s",
        "used_at",
    )

    def __init__(self, p: Plain, device: int) -> None:
        self.device, self.clock = device, p.clock
        self.from_s, self.gather_s = p.now_s, 0.0
        self.free_at_s = list(p.free_at_s[device])
        self.calls = Calls(p, device) if len(self.free_at_s) > 1 else None
        self.resident = list(p.resident[device])
        self.used_at = list(p.used_at[device])
        self.content = [list(row) for row in p.content[device]]
        self.content_used_at = [list(row) for row in p.content_used_at[device]]
        self.settled_at_s = list(p.settled_at_s[device])
        self.loader_at_s = p.loader_at_s[device]
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

    `terms` are its seconds of (unload, load, transfer with a move, prefill + decode). It starts at
    `start_s` in a slot, its unloads at `unload_at_s`, its call at `call_at_s`; that gathers for
    `gather_s` and works for `work_s` if it is alone. Where it is `blocked` it cannot start yet:
    memory is in use, or its model is on its way out.
    """

    finish_s: float
    slot: int
    sequence: int
    cached: float
    gone: list[int]
    loaded_s: float
    terms: tuple[float, float, float, float]
    start_s: float
    unload_at_s: float
    call_at_s: float
    gather_s: float
    work_s: float
    source: int
    blocked: bool


def benches(p: Plain) -> list[Bench]:
    """Return every device's state as it is now."""
    return [Bench(p, device) for device in range(p.devices)]


def start_seconds(bench: Bench) -> float:
    """Return when the next call could start, as far as ends are known."""
    return max(min(bench.free_at_s), bench.from_s)


def company(bench: Bench, slot: int, at_s: float) -> int:
    """Return how many calls of other slots run at a time, or are to have begun by then."""
    calls = bench.calls
    if calls is None:
        return 0
    return sum(
        other != slot and at_s < free_s < inf and begins_s <= at_s
        for other, (free_s, begins_s) in enumerate(zip(bench.free_at_s, calls.at_s, strict=True))
    )


def in_use(bench: Bench, model: int, at_s: float) -> bool:
    """Whether a call uses a model at a time, or is to."""
    calls = bench.calls
    if calls is None:
        return False
    return any(
        used == model and at_s < free_s < inf
        for used, free_s in zip(calls.model, bench.free_at_s, strict=True)
    )


def taken(bench: Bench, model: int, at_s: float) -> list[int]:
    """Return the sequences of a model that calls use at a time, or are to."""
    calls, found = bench.calls, list[int]()
    if calls is None:
        return found
    for slot, free_s in enumerate(bench.free_at_s):
        if calls.model[slot] == model and at_s < free_s < inf:
            found += [calls.sequence[slot], calls.source[slot]]
    return found


def first_to_begin(calls: Calls, until_s: float) -> int:
    """Return the slot of the call that begins first, by a time; -1 if none does."""
    first = -1
    for slot, at_s in enumerate(calls.at_s):
        if not -inf < at_s <= until_s:
            continue
        sooner = first < 0 or at_s < calls.at_s[first]
        if sooner or (at_s == calls.at_s[first] and calls.order[slot] < calls.order[first]):
            first = slot
    return first


def begin(p: Plain, bench: Bench, calls: Calls, slot: int) -> None:
    """Let a call begin: what runs beside it now decides when it ends."""
    at_s = calls.at_s[slot]
    busy = 0
    for other, free_s in enumerate(bench.free_at_s):
        if other != slot and calls.at_s[other] == -inf and at_s < free_s < inf:
            busy += 1
    end_s = (at_s + calls.gather_s[slot]) + calls.work_s[slot] * p.slowdown[bench.device][busy]
    bench.free_at_s[slot] = end_s
    calls.at_s[slot], calls.source[slot] = -inf, -1
    calls.begun.append((calls.node[slot], end_s))


def settle(p: Plain, bench: Bench, until_s: float) -> None:
    """Let all calls begin that do so by a time, in order."""
    calls = bench.calls
    while calls is not None and (slot := first_to_begin(calls, until_s)) >= 0:
        begin(p, bench, calls, slot)


def settle_start(p: Plain, bench: Bench) -> None:
    """Let all calls begin that do so before the next one can start."""
    calls = bench.calls
    while calls is not None and (slot := first_to_begin(calls, start_seconds(bench))) >= 0:
        begin(p, bench, calls, slot)


def next_seconds(bench: Bench, after_s: float) -> float:
    """Return when something changes on a device next: a call begins or ends, a model is settled."""
    at_s = inf
    for slot, free_s in enumerate(bench.free_at_s):
        begins_s = -inf if bench.calls is None else bench.calls.at_s[slot]
        change_s = begins_s if begins_s > -inf else free_s
        if after_s < change_s < at_s:
            at_s = change_s
    for settled_s in bench.settled_at_s:
        if after_s < settled_s < at_s:
            at_s = settled_s
    return at_s


def begun(bench: Bench) -> list[tuple[int, float]]:
    """Return the nodes that have begun since this was asked last, each with its end."""
    if bench.calls is None:
        return []
    found, bench.calls.begun = bench.calls.begun, []
    return found


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
