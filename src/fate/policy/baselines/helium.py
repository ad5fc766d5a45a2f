"""Helium: prompts as a tree, walked so that shared prefixes follow each other.

"Helium: Efficient LLM serving for agentic workflows: a data systems perspective",
arXiv:2603.16104, and mlsys-io/helium_demo.
"""

from collections.abc import Sequence

import numpy as np

from fate.domain.plan import Memo, Plan, Search
from fate.domain.snapshot import Snapshot
from fate.policy.ahead import Lists, Operators, follow_or_lay
from fate.policy.base import Lookahead
from fate.policy.serving import Desk, FewestCalls, ServingPolicy, names
from fate.policy.visible import visible

#: Place of a subtree or an operator among its siblings; the last two tell them apart.
_Key = tuple[int, int, int, int]


def token_steps(new_tokens: float, answer_tokens: float) -> float:
    """Return what a call costs: its new prompt tokens and its growing answer, held to the end.

    In tokens x steps of generation; the paper divides by the cache's capacity, which is the same
    for all workers there.
    """
    return answer_tokens * new_tokens + answer_tokens * (answer_tokens + 1.0) / 2.0


def walk(
    paths: Sequence[Sequence[int]], below: Sequence[int], above: Sequence[int], first: int
) -> list[int]:
    """Return the first positions in the order of a depth-first walk over the tree of all prompts.

    Of subtrees, the one with the longest path below any of its operators first, then the one that
    can begin earliest; operators that end at a fork come among them by the same rule.

    Args:
        paths: path nodes of each operator's prompt, root first.
        below: operators on the longest path below each.
        above: operators on the longest path above each that have not run.
        first: how many positions are asked for; the others only shape the tree.
    """
    deepest, earliest = dict[int, int](), dict[int, int]()
    for op, path in enumerate(paths):
        for path_node in path:
            deepest[path_node] = max(deepest.get(path_node, 0), below[op])
            earliest[path_node] = min(earliest.get(path_node, above[op]), above[op])

    def key(op: int) -> list[_Key]:
        way = [(-deepest[node], earliest[node], 0, node) for node in paths[op]]
        return [*way, (-below[op], above[op], 1, op)]

    return sorted(range(first), key=key)


class Helium:
    """Partition by token steps, order by the tree; devices skip what is not ready.

    Source: Helium (arXiv:2603.16104) and its code. Rule: the prompts of all visible stages make a
    tree; a depth-first walk takes the subtree with the longest path below it first, then the one
    that can begin earliest. In this order stages are divided between devices: each goes where
    token steps so far + its own are fewest, counting only prompt tokens that no stage there has
    in its prefix: o x new + o (o + 1) / 2 for an answer of o tokens. Devices take the first ready
    stage of their list. Deviations: the walk does not simulate token steps to hold back stages
    whose parents are late, devices skip them instead; one stage is put on one device, where
    workers of the original each take a slice of a batch of inputs; a map goes to one device;
    results of identical calls are reused by the core for every policy, prefixes are neither pinned
    nor computed ahead, and evicted least recently used; the plan is made anew for what has not
    started when workflows arrive; models are taken to be where they are needed, as in the paper.
    """

    name = "helium"
    eager = True
    inline = True
    lookahead: Lookahead = "all"

    def plan(self, snapshot: Snapshot, memo: Memo | None) -> Plan:
        """Follow the lists laid down, or lay them down anew."""
        desk = Desk(snapshot)

        def lay(ops: Operators) -> Lists:
            return _partition(snapshot, ops, desk.devices)

        orders, memo = follow_or_lay(desk, memo, lay, strict=False)
        return Plan(
            policy=self.name,
            orders=names(snapshot, orders),
            memo=memo,
            search=Search(base=self.name),
        )


def _paths(snapshot: Snapshot, nodes: Sequence[int]) -> list[list[int]]:
    prompts: list[list[int]] = snapshot.prompt[np.array(nodes, np.int64)].tolist()
    return [[path_node for path_node in prompt if path_node >= 0] for prompt in prompts]


def _partition(snapshot: Snapshot, ops: Operators, devices: int) -> Lists:
    """Return instances by device, in the order of the walk."""
    first, above = [mine[0] for mine in ops.nodes], visible(snapshot).above()
    paths = _paths(snapshot, first)
    tokens, upto = snapshot.first_tokens.tolist(), snapshot.path_tokens[:, 1].tolist()
    answers = (snapshot.output_tokens / (1.0 + snapshot.rest_items)).tolist()
    rest = snapshot.rest_tokens.tolist()
    steps, seen = [0.0] * devices, [set[int]() for _ in range(devices)]
    lists: Lists = [[] for _ in range(devices)]

    def cost(op: int, device: int) -> float:
        shared = 0
        for path_node in paths[op]:
            if path_node not in seen[device]:
                break
            shared = upto[path_node]
        answer, items = answers[first[op]], ops.items[op]
        new = tokens[first[op]] - shared + sum([rest[node] for node in ops.nodes[op]])
        return token_steps(new / items, answer) * items

    for op in walk(paths, ops.below(), [above[node] for node in first], len(paths)):
        if not ops.hosts[op]:
            continue
        sums = [(steps[device] + cost(op, device), device) for device in ops.hosts[op]]
        steps_then, device = min(sums)
        steps[device] = steps_then
        seen[device].update(paths[op])
        lists[device].append(ops.instance[op])
    return lists


def _by_walk(desk: Desk) -> list[int]:
    """Sort the frontier by the walk over everything visible."""
    dag, nodes = visible(desk.snapshot), range(len(desk.snapshot.model))
    return walk(_paths(desk.snapshot, nodes), dag.below(), dag.above(), desk.frontier)


class _FewestSteps(FewestCalls):
    """Where token steps in the queue + those of the call behind what is cached are fewest."""

    def __init__(self, desk: Desk, cursor: int) -> None:
        super().__init__(desk, cursor)
        s, self._desk = desk.snapshot, desk
        items = (s.rest_items + 1.0)[: desk.frontier]
        self._items = items.tolist()
        self._answer = (s.output_tokens[: desk.frontier] / items).tolist()
        self._prompt = (s.first_tokens + s.rest_tokens)[: desk.frontier].tolist()
        each = [self._cost(node, 0.0) for node in range(desk.frontier)]
        mean = sum(each) / len(each) if each else 0.0
        self._steps = [calls * mean for calls in self.calls]

    def _cost(self, node: int, cached: float) -> float:
        items = self._items[node]
        return items * token_steps((self._prompt[node] - cached) / items, self._answer[node])

    def choose(self, node: int, hosts: Sequence[int]) -> int:
        """Return the host with the fewest token steps, the lowest index among equals."""
        cached = self._desk.cached
        return min(hosts, key=lambda d: (self._steps[d] + self._cost(node, cached(node, d)), d))

    def place(self, node: int, device: int) -> None:
        """Count the call's token steps."""
        self._steps[device] += self._cost(node, self._desk.cached(node, device))


def helium_late() -> ServingPolicy:
    """Serve in the order of the walk over prompts, by token steps, devices chosen late.

    Source: as `helium`. Rule: ready calls in the order of the same walk; each goes where token
    steps in the queue + its own, behind what is cached there, are fewest; made again at every
    decision, over all devices, for everything that waits. Deviations: as `helium`; late binding is
    ours; running calls count at the mean of the waiting.
    """
    return ServingPolicy(
        name="helium-late", urgency=_by_walk, route=_FewestSteps, binding="late", lookahead="all"
    )
