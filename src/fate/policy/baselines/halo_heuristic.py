"""Halo's default: the frontier by distance to the end, on the parents' devices.

"Halo: Batch query processing and optimization for agentic workflows", arXiv:2509.02121; strategy
"heuristic" of its code.
"""

from collections.abc import Sequence

from fate.domain.plan import Memo, Plan, Search
from fate.domain.snapshot import Snapshot
from fate.policy.ahead import Lists, Operators, follow_or_lay
from fate.policy.base import Lookahead
from fate.policy.serving import Desk, ServingPolicy, names
from fate.policy.visible import visible

#: Operators with more items than this are spread over devices that would be left empty.
SPREAD_OVER = 2


class HaloHeuristic:
    """Give each step's operators to devices, parents' first, and follow the lists in order.

    Source: Halo (arXiv:2509.02121), strategy "heuristic", the default of its code. Rule: step by
    step, the operators that the last step made ready, then others that had to wait; of more than
    there are devices those with the longest path to the end, of fewer the ones with more than two
    items are repeated in turn over the devices left, items split evenly. Each goes to the device
    of a parent in the last step if that is free, otherwise to the lowest that is. No costs are
    looked at. Devices work their lists off strictly in order. Deviations: an operator is one
    workflow's instance with its items, not a batch of queries; the plan is made anew for what has
    not started when workflows arrive; parents that ran before count as the last step; a device
    that cannot host the model is passed over.
    """

    name = "halo-heuristic"
    eager = True
    inline = True
    lookahead: Lookahead = "all"

    def plan(self, snapshot: Snapshot, memo: Memo | None) -> Plan:
        """Follow the lists laid down, or lay them down anew."""
        desk = Desk(snapshot)

        def lay(ops: Operators) -> Lists:
            return _lists(ops, _ran(snapshot, ops), desk.devices)

        orders, memo = follow_or_lay(desk, memo, lay, strict=True)
        return Plan(
            policy=self.name,
            orders=names(snapshot, orders),
            memo=memo,
            search=Search(base=self.name),
        )


def _ran(snapshot: Snapshot, ops: Operators) -> list[list[int]]:
    """Return the devices on which each operator's parents have run."""
    on = snapshot.parents_on.tolist()
    frontier = snapshot.frontier
    return [
        [d for d, calls in enumerate(on[mine[0]]) if calls] if mine[0] < frontier else []
        for mine in ops.nodes
    ]


def _lists(ops: Operators, ran: list[list[int]], devices: int) -> Lists:
    """Return the whole plan: instances by device."""
    below, missing = ops.below(), list(ops.waits_for)
    near = list(ran)
    fresh = [op for op, waits in enumerate(missing) if not waits and ops.hosts[op]]
    paused, lists = list[int](), [list[int]() for _ in range(devices)]
    while fresh or paused:
        if len(fresh) > devices:
            fresh.sort(key=lambda op: (-below[op], op))
            fresh, paused = fresh[:devices], paused + fresh[devices:]
        while paused and len(fresh) < devices:
            fresh.append(paused.pop(0))
        given = _give(ops, near, _repeated(ops, fresh, devices), devices)
        for op, device in given:
            lists[device].append(ops.instance[op])
        last = {op: [d for other, d in given if other == op] for op, _ in given}
        paused = [op for op in fresh if op not in last] + paused
        near, fresh = [list[int]() for _ in below], list[int]()
        for op, on in last.items():
            for child in ops.children[op]:
                missing[child] -= 1
                near[child].append(on[0])
                if not missing[child] and ops.hosts[child]:
                    fresh.append(child)
    return lists


def _repeated(ops: Operators, chosen: list[int], devices: int) -> list[int]:
    """Return a step's operators, those that can be split repeated for the devices left."""
    able = [op for op in chosen if ops.items[op] > SPREAD_OVER]
    more = devices - len(chosen)
    return chosen + [able[turn % len(able)] for turn in range(more) if able]


def _give(
    ops: Operators, near: list[list[int]], tasks: Sequence[int], devices: int
) -> list[tuple[int, int]]:
    """Give each task a parent's device if it is free, otherwise the lowest free one."""
    free, given = list(range(devices)), list[tuple[int, int]]()
    for op in tasks:
        hosts = [device for device in free if device in ops.hosts[op]]
        if hosts:
            device = next((device for device in near[op] if device in hosts), hosts[0])
            free.remove(device)
            given.append((op, device))
    return given


def _farthest_first(desk: Desk) -> list[int]:
    """Sort by edges to the end, most first, then by arrival."""
    below = visible(desk.snapshot).below()
    return sorted(range(desk.frontier), key=lambda node: (-below[node], node))


class _ParentFirst:
    """Where the instance runs already, then where a parent ran, then the lowest."""

    def __init__(self, desk: Desk, cursor: int) -> None:
        self.cursor, self._ran = cursor, desk.snapshot.parents_on.tolist()
        self._instance = desk.snapshot.instance.tolist()
        self._own = [set(running) - {-1} for running in desk.snapshot.running_instance.tolist()]

    def choose(self, node: int, hosts: Sequence[int]) -> int:
        """Return the host that fits best."""
        number, ran = self._instance[node], self._ran[node]
        return min(hosts, key=lambda d: (number not in self._own[d], not ran[d], d))

    def place(self, node: int, device: int) -> None:
        """Remember which instances a device has."""
        self._own[device].add(self._instance[node])


def halo_heuristic_late() -> ServingPolicy:
    """Serve what is farthest from the end, on idle devices, parents' first.

    Source: as `halo-heuristic`. Rule: ready calls by the longest path to the end; each goes to an
    idle device: one that has its instance already, one where a parent ran, otherwise the lowest.
    Deviations: as `halo-heuristic`; late binding is ours, and since no load is looked at, nothing
    waits for a busy device.
    """
    return ServingPolicy(
        name="halo-heuristic-late",
        urgency=_farthest_first,
        route=_ParentFirst,
        binding="late",
        lookahead="all",
        idle_only=True,
    )
