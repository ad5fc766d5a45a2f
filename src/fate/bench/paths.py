"""Bounds by paths: no call ends before what leads to it can have, wherever everything runs.

For every call j and device e, `ends[j][e]` is a time before which j cannot end if it runs on e, and
`tails[j][e]` seconds that must still pass after it has. Both follow the edges of the DAG, and
each edge costs what no placement avoids:

    forced transfers   p on d, j on e != d, j gathers what p left: the bytes go over the link
    forced loads       p and j both on e, with models that do not fit there together: p's model is
                       in use until p has ended, so j's is loaded after that; and no call ends
                       before its model has been loaded at all, which begins when the first call of
                       that model is ready (with prefetches: when the first workflow comes)
    joins              parents that all ran on e ran one after the other (k at a time); each one
                       that did not costs a transfer. The cheapest mixture of the two, fractional

A call's own time is that of its best state: of the prompt, everything counts as cached that any
other call could have left. By induction over the DAG no schedule ends a call sooner.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import inf

from fate.bench.pricing import Node, Priced
from fate.bench.sharing import Piece, Sharing, sharing

#: By node and device.
Table = list[list[float]]


@dataclass(frozen=True, slots=True)
class Paths:
    """Times relative to the first arrival, by node and device; inf where a call cannot run.

    `work` is the least time a call occupies a slot there, gathering and loading apart.
    """

    p: Priced
    work: Table
    ends: Table
    tails: Table
    shared: Sharing
    start_s: float

    def begins(self, node: int, device: int) -> float:
        """Return a time before which a call cannot begin its work on a device."""
        return self.ends[node][device] - self.work[node][device]

    def piece_seconds(self, piece: Piece, node: int, device: int) -> float:
        """Return the least seconds to have a piece of a prompt on a device that lacks it."""
        p, costs = self.p, self.p.costs[device][piece.model]
        if costs is None:
            return inf
        _, per_token, per_depth = costs.prefill
        tokens, middle = piece.stop - piece.start, (piece.stop + piece.start) / 2.0
        computed_s = tokens * (per_token + per_depth * middle) * p.factor(node, device)
        speeds = [speed for (_, e), (_, speed) in p.link.items() if e == device]
        if not p.case.options.move or not speeds:
            return computed_s
        size_bytes = tokens * p.case.cluster.models[piece.model].kv_bytes_per_token
        return min(computed_s, size_bytes / max(speeds))

    @property
    def longest_s(self) -> float:
        """No run is shorter."""
        needed = [
            min(ends) for ends, n in zip(self.ends, self.p.nodes, strict=True) if not n.optional
        ]
        return max(needed, default=0.0)


def paths(p: Priced, *, prefetch: bool = False) -> Paths:
    """Return the bounds by paths; `prefetch`: models may be loaded before a call wants them."""
    shared = sharing(p)
    start_s = min((node.arrival_s for node in p.nodes), default=0.0)
    work = [[_work(p, shared, j, d) for d in p.devices] for j in range(len(p.nodes))]
    first = [0.0] * len(p.case.cluster.models)
    ends, ready = _ends(p, work, start_s, first)
    if not prefetch:
        for m in range(len(first)):
            calls = [ready[j] for j, node in enumerate(p.nodes) if node.model == m]
            first[m] = min(calls, default=0.0)
        ends, _ = _ends(p, work, start_s, first)
    return Paths(p, work, ends, _tails(p, work), shared, start_s)


def _work(p: Priced, shared: Sharing, j: int, d: int) -> float:
    node = p.nodes[j]
    if node.kind != "call":
        return node.tool_s if node.kind == "tool" else 0.0
    return p.call_seconds(j, d, shared.cached(j, d))


def switch_seconds(p: Priced, before: Node, after: Node, device: int) -> float:
    """Return the seconds to unload and load between two calls that follow each other."""
    models, size = p.case.cluster.models, p.case.cluster.devices[device]
    if before.model == after.model or not size.managed or min(before.model, after.model) < 0:
        return 0.0
    both = models[before.model].footprint_bytes + models[after.model].footprint_bytes
    if both <= size.memory_bytes:
        return 0.0
    return p.unload_seconds(before.model, device) + p.load_seconds(after.model, device)


def _ends(p: Priced, work: Table, start_s: float, first: list[float]) -> tuple[Table, list[float]]:
    """Return the ends, and when each node can be ready; models are wanted from `first` on."""
    ends, ready = Table(), list[float]()
    for j, node in enumerate(p.nodes):
        soonest = sorted(min(ends[parent]) for parent in node.parents)
        came_s = node.arrival_s - start_s
        if needed := min(node.needed, len(soonest)):
            came_s = max(came_s, soonest[needed - 1])
        ready.append(came_s)
        row = list[float]()
        for e in p.devices:
            at_s = came_s
            if node.kind == "call":
                at_s = max(at_s, first[node.model] + p.load_seconds(node.model, e))
                if node.needed >= len(node.parents):
                    at_s = max(at_s, _gathered(p, work, ends, j, e))
            row.append(at_s + work[j][e])
        ends.append(row)
    return ends, ready


def _gathered(p: Priced, work: Table, ends: Table, j: int, e: int) -> float:
    """Return when everything a call starts from can be on a device, its model being there too."""
    node, latest_s = p.nodes[j], 0.0
    here_s, cheapest, serial = list[float](), list[tuple[float, float]](), inf
    for parent in node.parents:
        if p.nodes[parent].kind != "call":
            latest_s = max(latest_s, min(ends[parent]))
            continue
        away = [d for d in p.devices if d != e and ends[parent][d] < inf]
        sent = [sent_seconds(p, parent, j, d, e) for d in away]
        stays_s = ends[parent][e] + switch_seconds(p, p.nodes[parent], node, e)
        goes_s = [ends[parent][d] + s for d, s in zip(away, sent, strict=True)]
        latest_s = max(latest_s, min([stays_s, *goes_s]))
        if parent in node.gathers and ends[parent][e] < inf:
            cheapest.append((min(sent, default=inf), work[parent][e]))
            here_s.append(min([ends[parent][e], *[ends[parent][d] for d in away]]))
            serial = min(serial, ends[parent][e] - work[parent][e])
        elif parent in node.gathers and sent:
            cheapest.append((min(sent), 0.0))
    if len(cheapest) < 2 or serial == inf:
        return latest_s
    slots = p.case.cluster.devices[e].slots
    return max(latest_s, _joined(max(here_s), serial, slots, cheapest))


def _joined(
    latest_s: float, begin_s: float, slots: int, parents: list[tuple[float, float]]
) -> float:
    """Return the least of max(latest, begin + work that stays / slots) + transfers of the rest.

    `parents` are (seconds to send, seconds of work here). What is cheapest to send per second of
    work goes first, in part if need be: the minimum over fractions, hence no more than over whole
    parents.
    """
    sent_s = sum(send_s for send_s, work_s in parents if work_s <= 0.0)
    stays_s = sum(work_s for _, work_s in parents) / slots
    rates = sorted(
        (send_s * slots / work_s, work_s / slots) for send_s, work_s in parents if work_s > 0.0
    )
    for rate, work_s in rates:
        surplus_s = begin_s + stays_s - latest_s
        if rate >= 1.0 or surplus_s <= 0.0:
            break
        moved_s = min(work_s, surplus_s)
        stays_s -= moved_s
        sent_s += rate * moved_s
    return max(latest_s, begin_s + stays_s) + sent_s


def sent_seconds(p: Priced, parent: int, j: int, source: int, target: int) -> float:
    """Return the seconds that an edge takes at least between two devices.

    Of several items on one device the link's latency is paid once, so it is left out for them.
    """
    if parent not in p.nodes[j].gathers:
        return 0.0
    seconds = p.transfer_seconds(parent, source, target)
    if p.nodes[parent].alone or not seconds:
        return seconds
    return max(seconds - p.link[source, target][0], 0.0)


def _tails(p: Priced, work: Table) -> Table:
    """Return the seconds that must pass after each node, by where it ran."""
    tails: Table = [[0.0 for _ in p.devices] for _ in p.nodes]
    for j in reversed(range(len(p.nodes))):
        node = p.nodes[j]
        if node.needed < len(node.parents) or node.optional:
            continue
        after = [work[j][e] + tails[j][e] for e in p.devices]
        for parent in node.parents:
            edge = _edge(p, parent, j)
            for d in p.devices:
                least = min(edge(d, e) + after[e] for e in p.devices)
                tails[parent][d] = max(tails[parent][d], least)
    return tails


def _edge(p: Priced, parent: int, j: int) -> Callable[[int, int], float]:
    """Return the cost of an edge by the devices of its ends; nothing where no call is involved."""
    if p.nodes[parent].kind != "call" or p.nodes[j].kind != "call":
        return lambda _d, _e: 0.0

    def cost(d: int, e: int) -> float:
        if d == e:
            return switch_seconds(p, p.nodes[parent], p.nodes[j], e)
        return sent_seconds(p, parent, j, d, e)

    return cost
