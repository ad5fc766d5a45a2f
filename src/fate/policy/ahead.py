"""Plans laid down for whole workflows before they run: one list of operators for each device.

An operator is an instance with all its items. The lists stand in the memo as numbers of
instances; they are followed until a workflow comes that they know nothing of, or a device that
they count on is gone, and then laid down anew for everything that has not started.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from fate.domain.plan import Memo
from fate.domain.snapshot import Snapshot
from fate.policy.kernel.reference import Orders
from fate.policy.serving import Desk
from fate.policy.visible import visible

#: Numbers of instances by device, in the order in which they are to run.
Lists: TypeAlias = list[list[int]]


@dataclass(frozen=True, slots=True)
class Operators:
    """The visible instances in order of their first node, as a graph.

    Attributes:
        instance: number of each.
        nodes: their positions in the snapshot: several chunks of a map that is ready.
        model: model of each.
        items: items that have not started.
        children: operators that wait for each.
        waits_for: how many visible operators each waits for.
        hosts: devices that can run each.
    """

    instance: list[int]
    nodes: list[list[int]]
    model: list[int]
    items: list[float]
    children: list[list[int]]
    waits_for: list[int]
    hosts: list[list[int]]

    def below(self) -> list[int]:
        """Return the operators on the longest path below each."""
        steps, missing = [0] * len(self.instance), list(self.waits_for)
        order = [op for op, waits in enumerate(missing) if not waits]
        for op in order:
            for child in self.children[op]:
                missing[child] -= 1
                if not missing[child]:
                    order.append(child)
        for op in reversed(order):
            for child in self.children[op]:
                steps[op] = max(steps[op], steps[child] + 1)
        return steps


def operators(snapshot: Snapshot) -> Operators:
    """Return the operators of a snapshot."""
    dag, numbers = visible(snapshot), snapshot.instance.tolist()
    usable = snapshot.free_at_s.min(axis=1) < float("inf")
    eligible = ((snapshot.eligible > 0) & usable).tolist()
    op_of: dict[int, int] = {}
    nodes: list[list[int]] = []
    for node, number in enumerate(numbers):
        op = op_of.setdefault(number, len(nodes))
        if op == len(nodes):
            nodes.append([])
        nodes[op].append(node)
    children = [
        list(dict.fromkeys(op_of[numbers[child]] for child in dag.children[mine[0]]))
        for mine in nodes
    ]
    waits_for = [0] * len(nodes)
    for mine in children:
        for child in mine:
            waits_for[child] += 1
    items = (snapshot.rest_items + 1.0).tolist()
    model = snapshot.model.tolist()
    return Operators(
        instance=list(op_of),
        nodes=nodes,
        model=[model[mine[0]] for mine in nodes],
        items=[sum(items[node] for node in mine) for mine in nodes],
        children=children,
        waits_for=waits_for,
        hosts=[[d for d, yes in enumerate(eligible[mine[0]]) if yes] for mine in nodes],
    )


def follow_or_lay(
    desk: Desk, memo: Memo | None, lay: Callable[[Operators], Lists], *, strict: bool
) -> tuple[Orders, Memo]:
    """Return what is ready of the lists laid down, or of new ones, and the memo of them."""
    lists = laid_down(desk, memo)
    if lists is None:
        ops = operators(desk.snapshot)
        lists = everything(lay(ops), ops)
    return follow(desk, lists, strict=strict), remembered(lists)


def everything(lists: Lists, ops: Operators) -> Lists:
    """Return the lists with what can run nowhere now at the end of the first, so that it is known.

    Lists that lack a visible instance are laid down anew with every plan.
    """
    known = {number for mine in lists for number in mine}
    return [lists[0] + [n for n in ops.instance if n not in known], *lists[1:]]


def remembered(lists: Lists) -> Memo:
    """Return a memo of the lists."""
    return Memo(ahead=tuple([tuple(mine) for mine in lists]))


def laid_down(desk: Desk, memo: Memo | None) -> Lists | None:
    """Return the remembered lists without what is gone; None if they do not cover what is there."""
    seen = desk.snapshot.instance.tolist()
    there, homes = set(seen), dict[int, set[int]]()
    lists: Lists = []
    for device, mine in enumerate(memo.ahead if memo else ()):
        lists.append([number for number in mine if number in there])
        for number in lists[-1]:
            homes.setdefault(number, set()).add(device)
    if len(lists) != desk.devices or homes.keys() != there:
        return None
    for node in range(desk.frontier):
        hosts = desk.hosts(node)
        if hosts and homes[seen[node]].isdisjoint(hosts):
            return None
    return lists


def follow(desk: Desk, lists: Lists, *, strict: bool) -> Orders:
    """Return what of the lists is ready, in their order; chunks are dealt out between homes.

    With `strict` a list stops at the first operator that still waits for others: what stands
    behind it does not overtake, unless nothing runs and nothing else could start.
    """
    chunks: dict[int, list[int]] = {}
    numbers = desk.snapshot.instance.tolist()
    for node in range(desk.frontier):
        chunks.setdefault(numbers[node], []).append(node)
    homes: dict[int, list[int]] = {}
    for device, mine in enumerate(lists):
        for number in mine:
            homes.setdefault(number, []).append(device)
    orders = [list[int]() for _ in range(desk.devices)]
    for device, mine in enumerate(lists):
        for number in mine:
            if strict and number not in chunks:
                break
            for turn, node in enumerate(chunks.get(number, ())):
                hosts = desk.hosts(node)
                able = [home for home in homes[number] if home in hosts]
                if able and able[turn % len(able)] == device:
                    orders[device].append(node)
    if strict and not any(orders) and not any(desk.running()):
        return follow(desk, lists, strict=False)
    return orders
