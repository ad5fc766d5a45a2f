"""Parrot: deep chains first, groups of siblings stay together, prompts go where they are cached.

Lin et al., "Parrot: Efficient serving of LLM-based applications with Semantic Variable", OSDI 2024
(arXiv:2405.19888); `global_scheduler.py` of microsoft/ParrotServe.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf

from fate.domain.plan import Memo, Plan, Search
from fate.domain.snapshot import Snapshot
from fate.policy.base import Lookahead
from fate.policy.kernel.reference import Orders
from fate.policy.listing import bound
from fate.policy.serving import Binding, Desk, names
from fate.policy.visible import Visible, visible

#: Calls that may be at a device together with one that somebody waits for, and with members of a
#: group, whose consumer needs all of them anyway.
LATENCY_BOUND, GROUP_BOUND = 4.0, 99_999.0


class _Engines:
    """What the scheduler knows of each device: calls and tokens there, and how many may be."""

    def __init__(self, desk: Desk, *, late: bool) -> None:
        self._desk, self._late = desk, late
        self.calls, self.free = desk.running(), desk.free()
        self.bound = [inf] * desk.devices
        s, frontier = desk.snapshot, desk.frontier
        sizes = (s.first_tokens + s.rest_tokens + s.output_tokens)[:frontier]
        self._sizes, mean = sizes.tolist(), float(sizes.mean()) if frontier else 0.0
        self.tokens = [calls * mean for calls in self.calls]

    def takes(self, device: int, group: Sequence[int], bound: float) -> bool:
        """Whether a device may be given a group, which counts as one call against its bound."""
        if self._late and len(group) > self.free[device]:
            return False
        if 1 + self.calls[device] > bound:
            return False
        return len(group) + self.calls[device] <= self.bound[device]

    def choose(self, group: Sequence[int], bound: float) -> int:
        """Return the device for a group, -1 if none may take all of it.

        One that holds the first prompt's prefix, then the one whose bound is lowest already, then
        the one with most room.
        """
        hosts = [d for d in self._desk.hosts(group[0]) if self.takes(d, group, bound)]
        if not hosts:
            return -1
        cached = {device: self._desk.cached(group[0], device) > 0.0 for device in hosts}
        return min(hosts, key=lambda d: (not cached[d], self.bound[d], self.tokens[d]))

    def give(self, node: int, device: int, bound: float) -> None:
        """Count a call."""
        self.calls[device] += 1
        self.free[device] -= 1
        self.tokens[device] += self._sizes[node]
        self.bound[device] = min(self.bound[device], bound)


@dataclass(frozen=True, slots=True, kw_only=True)
class Parrot:
    """Groups x prefixes x bounds; `fate.policy.base.Policy` says what it promises."""

    name: str
    binding: Binding

    inline = True
    lookahead: Lookahead = "all"

    @property
    def eager(self) -> bool:
        """Calls are given to engines when they are ready, if one may take them."""
        return self.binding == "arrival"

    def plan(self, snapshot: Snapshot, memo: Memo | None) -> Plan:
        """Keep what is bound; give away the rest, deepest first, a group at a time."""
        desk = Desk(snapshot)
        orders = [list[int]() for _ in range(desk.devices)]
        if self.binding == "arrival":
            orders = bound(snapshot, memo)
        if sum(map(len, orders)) < desk.frontier:
            self._give_away(desk, orders)
        named = names(snapshot, orders)
        kept = named if self.binding == "arrival" else ()
        return Plan(
            policy=self.name,
            orders=named,
            memo=Memo(orders=kept),
            search=Search(base=self.name),
        )

    def _give_away(self, desk: Desk, orders: Orders) -> None:
        engines = _Engines(desk, late=self.binding == "late")
        groups = _groups(desk.snapshot, visible(desk.snapshot))
        bound_of = {n: GROUP_BOUND for group in groups if len(group) > 1 for n in group}
        for device, order in enumerate(orders):
            for node in order:
                engines.give(node, device, bound_of.get(node, LATENCY_BOUND))
        given = {node for order in orders for node in order}
        for group in groups:
            left = [node for node in group if node not in given]
            most = bound_of.get(group[0], LATENCY_BOUND)
            for part in _parts(engines, left, most):
                device = engines.choose(part, most)
                for node in part if device >= 0 else ():
                    engines.give(node, device, most)
                    orders[device].append(node)


def _parts(engines: _Engines, group: list[int], bound: float) -> list[list[int]]:
    """Return a group as it is if some device may take all of it, otherwise each call alone."""
    if not group or engines.choose(group, bound) >= 0:
        return [group] if group else []
    return [[node] for node in group]


def _groups(snapshot: Snapshot, dag: Visible) -> list[list[int]]:
    """Return the frontier as groups of calls of one model that share a consumer.

    Deepest first: calls and groups stand in order of the edges below their first member.
    """
    below, model, eligible = dag.below(), snapshot.model.tolist(), snapshot.eligible.tolist()
    queue = sorted(range(snapshot.frontier), key=lambda node: (-below[node], node))
    at = {node: position for position, node in enumerate(queue)}
    groups, taken = list[list[int]](), set[int]()
    for first in queue:
        if first in taken:
            continue
        group, consumers = [first], set(dag.children[first])
        siblings = {node for child in consumers for node in dag.parents[child]} & at.keys()
        for node in sorted(siblings - taken - {first}, key=at.__getitem__):
            common = consumers.intersection(dag.children[node])
            if common and model[node] == model[first] and eligible[node] == eligible[first]:
                group.append(node)
                consumers = common
        taken.update(group)
        groups.append(group)
    return groups


def parrot() -> Parrot:
    """Give deep calls away first, siblings to one device, prompts to where they are cached.

    Source: Parrot (OSDI 2024), `global_scheduler.py` of its code. Rule: calls by edges below them,
    most first; ready calls of one model that share a consumer are a group. A device may take a
    call somebody waits for while no more than 4 are there, a group whatever is there, and no more
    than the lowest bound of what is there allows. Of those that may: one that holds the prompt's
    prefix, the lowest bound, the most room; a group that no device may take is split. Given away
    when ready, in order of arrival at the device; what no device may take waits in the common
    queue. Deviations: room is counted in tokens of what is outstanding, running calls at the mean,
    with devices taken as equally large; of two devices alike in all else the code takes the one
    with less room where its comment says more: as in the comment; grouping by a shared first
    segment is left out, for it would put all calls with one system prompt on one device; engines
    are devices that can host the model; there is no attention kernel for shared prefixes.
    """
    return Parrot(name="parrot", binding="arrival")


def parrot_late() -> Parrot:
    """Give deep calls away first, groups and prefixes together, to free slots only.

    Source: as `parrot`. Rule: the same order, groups and choice of device, but a device takes no
    more than its free slots, so that a group larger than that is split; the rest waits in the
    common queue. Deviations: as `parrot`; late binding is ours.
    """
    return Parrot(name="parrot-late", binding="late")
