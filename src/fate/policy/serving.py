"""What systems that serve workflows are made of: a router, and queues with a priority.

A router gives a chunk to a device the moment it is ready, for good; each device then takes from
its queue what is most urgent. With late binding the same two rules are asked anew at every
decision, for everything that waits and over all devices, busy ones too.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf
from typing import Literal, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from fate.cost.terms import decode_seconds, prefill_seconds
from fate.domain.graph import Chunk
from fate.domain.plan import Memo, Plan, Search
from fate.domain.snapshot import F64, Snapshot
from fate.policy.base import Lookahead
from fate.policy.kernel.reference import Orders
from fate.policy.listing import bound

#: arrival: to a device for good, when the chunk is ready. late: decided again until it starts.
Binding: TypeAlias = Literal["arrival", "late"]


class Desk:
    """What a router has before it: chunks, who can host them, and what devices do and hold."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        self.devices, self.frontier = snapshot.devices, snapshot.frontier
        self.now_s, self.free_at_s = snapshot.now_s, snapshot.free_at_s.tolist()
        usable = (snapshot.free_at_s < inf).any(axis=1)
        table = (snapshot.eligible[: self.frontier] > 0) & usable
        self._may_run: list[list[bool]] = table.tolist()
        self._cached: list[list[float]] | None = None

    def hosts(self, node: int) -> list[int]:
        """Return the devices that can run a chunk, now or once they are free."""
        return [device for device, may in enumerate(self._may_run[node]) if may]

    def running(self) -> list[int]:
        """Return how many calls run on each device."""
        return [sum(self.now_s < at_s < inf for at_s in slots) for slots in self.free_at_s]

    def free(self) -> list[int]:
        """Return how many slots are free on each device."""
        return [sum(at_s <= self.now_s for at_s in slots) for slots in self.free_at_s]

    def cached(self, node: int, device: int) -> float:
        """Return the tokens of a chunk's first prompt that a device could reuse now.

        What is parked on disk or on another device does not count.
        """
        if self._cached is None:
            self._cached = cached_tokens(self.snapshot)
        return self._cached[node][device]


def cached_tokens(snapshot: Snapshot) -> list[list[float]]:
    """Return [F, D] tokens of each chunk's first prompt that each device could reuse now."""
    prompt, upto = snapshot.prompt[: snapshot.frontier], snapshot.path_tokens[:, 1]
    table = np.zeros((len(prompt), snapshot.devices))
    if not prompt.size:
        return table.tolist()
    there = prompt >= 0
    ends = np.where(there, upto[prompt], 0)

    def leading(same: NDArray[np.bool_]) -> F64:
        run = np.logical_and.accumulate(same & there, axis=1)
        return (run * ends).max(axis=1)

    model = snapshot.model[: snapshot.frontier]
    for device, blocks in enumerate(snapshot.cache_tokens.tolist()):
        if blocks:
            table[:, device] = leading(snapshot.cached_at[device][prompt] >= 0)
            continue
        for m in np.flatnonzero(snapshot.resident[device]).tolist():
            mine = np.flatnonzero(model == m)
            for content in snapshot.content[device, m].tolist() if mine.size else ():
                if content >= 0:
                    found = leading(prompt == snapshot.held[content])[mine]
                    table[mine, device] = np.maximum(table[mine, device], found)
    usable = np.minimum(table, snapshot.first_tokens[: len(prompt), None] - 1.0)
    return np.maximum(usable, 0.0).tolist()


#: Returns the frontier's positions, most urgent first.
Urgency: TypeAlias = Callable[[Desk], list[int]]


class Route(Protocol):
    """Chooses devices. `cursor` is the next device in turn, kept between plans."""

    cursor: int

    def choose(self, node: int, hosts: Sequence[int]) -> int:
        """Return the device for a chunk, one of `hosts`."""
        ...

    def place(self, node: int, device: int) -> None:
        """Take note that a chunk has been given to a device."""
        ...


#: Makes a route; the number is where turns go on.
MakeRoute: TypeAlias = Callable[[Desk, int], Route]


class InTurn:
    """One device after the other."""

    def __init__(self, desk: Desk, cursor: int) -> None:
        self.cursor, self._devices = cursor, desk.devices

    def choose(self, node: int, hosts: Sequence[int]) -> int:
        """Return the first host from the cursor on."""
        del node
        return min(hosts, key=lambda device: (device - self.cursor) % self._devices)

    def place(self, node: int, device: int) -> None:
        """Move the cursor behind the device."""
        del node
        self.cursor = (device + 1) % self._devices


class FewestCalls:
    """The device with the fewest calls, running and queued; the first among equals."""

    def __init__(self, desk: Desk, cursor: int) -> None:
        self.cursor, self.calls = cursor, desk.running()

    def choose(self, node: int, hosts: Sequence[int]) -> int:
        """Return the host with the fewest calls."""
        del node
        return min(hosts, key=lambda device: (self.calls[device], device))

    def place(self, node: int, device: int) -> None:
        """Count the call."""
        del node
        self.calls[device] += 1


@dataclass(frozen=True, slots=True, kw_only=True)
class ServingPolicy:
    """Urgency x route x binding; `fate.policy.base.Policy` says what it promises.

    With `idle_only` late binding looks at free slots alone: for routes that know no load.
    """

    name: str
    urgency: Urgency
    route: MakeRoute
    binding: Binding
    lookahead: Lookahead = "none"
    idle_only: bool = False

    @property
    def eager(self) -> bool:
        """Routers act when work arrives, whether or not a device is idle."""
        return self.binding == "arrival"

    @property
    def inline(self) -> bool:
        """A handful of comparisons per chunk."""
        return True

    def plan(self, snapshot: Snapshot, memo: Memo | None) -> Plan:
        """Keep what is bound, route the rest by urgency, and sort every queue by urgency."""
        desk, cursor = Desk(snapshot), memo.cursor if memo else 0
        orders = [list[int]() for _ in range(desk.devices)]
        if self.binding == "arrival":
            orders = bound(snapshot, memo)
        urgent = self.urgency(desk)
        if sum(map(len, orders)) < desk.frontier:
            cursor = self._route(desk, urgent, orders, cursor)
        at = {node: position for position, node in enumerate(urgent)}
        named = names(snapshot, [sorted(order, key=at.__getitem__) for order in orders])
        kept = named if self.binding == "arrival" else ()
        return Plan(
            policy=self.name,
            orders=named,
            memo=Memo(orders=kept, cursor=cursor),
            search=Search(base=self.name),
        )

    def _route(self, desk: Desk, urgent: list[int], orders: Orders, cursor: int) -> int:
        """Give away what is in no list yet; return where turns go on."""
        route = self.route(desk, cursor)
        for device, order in enumerate(orders):
            for node in order:
                route.place(node, device)
        route.cursor = cursor  # what is bound already takes no turn
        placed, room = {node for order in orders for node in order}, desk.free()
        for node in urgent:
            hosts = [d for d in desk.hosts(node) if room[d] > 0 or not self.idle_only]
            if node in placed or not hosts:
                continue
            device = route.choose(node, hosts)
            route.place(node, device)
            orders[device].append(node)
            room[device] -= 1
        return route.cursor


def names(snapshot: Snapshot, orders: Orders) -> tuple[tuple[Chunk, ...], ...]:
    """Return lists of positions as lists of chunks."""
    return tuple(tuple(snapshot.chunks[node] for node in order) for order in orders)


def own_seconds(snapshot: Snapshot) -> F64:
    """Return [N] compute seconds of each node, nothing cached, on its best device; inf for none."""
    prefill, decode = snapshot.prefill[:, snapshot.model], snapshot.decode[:, snapshot.model]
    rest, output = snapshot.rest_items, snapshot.output_tokens / (1.0 + snapshot.rest_items)
    new = snapshot.rest_tokens / np.maximum(rest, 1.0)
    first = prefill_seconds(snapshot.first_tokens, np.zeros_like(output), *_columns(prefill))
    first = first + decode_seconds(output, snapshot.first_tokens, *_columns(decode))
    each = prefill_seconds(new, snapshot.head_tokens, *_columns(prefill))
    each = each + decode_seconds(output, snapshot.head_tokens + new, *_columns(decode))
    fits = np.isfinite(snapshot.load_s[:, snapshot.model]) & (snapshot.eligible.T > 0)
    return np.where(fits, first + rest * each, np.inf).min(axis=0, initial=np.inf)


def _columns(rates: F64) -> tuple[F64, F64, F64]:
    return rates[..., 0], rates[..., 1], rates[..., 2]
