"""The visible part of the workflows as a graph: who waits for whom, and how far it is to the ends.

Positions are those of a snapshot's nodes. Chunks of one map are nodes of their own with the same
children; a child counts each of them as a parent.
"""

from dataclasses import dataclass

from fate.domain.snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class Visible:
    """Edges both ways, and the nodes so that parents come before children.

    Attributes:
        children: [N] positions of the visible nodes that wait for each node.
        parents: [N] positions of the visible nodes each node waits for; those that run are not
            among them.
        order: [N] positions, parents first, otherwise ascending.
    """

    children: list[list[int]]
    parents: list[list[int]]
    order: list[int]

    def below(self) -> list[int]:
        """Return [N] edges on the longest path from each node to an end."""
        steps = [0] * len(self.order)
        for node in reversed(self.order):
            for child in self.children[node]:
                steps[node] = max(steps[node], steps[child] + 1)
        return steps

    def above(self) -> list[int]:
        """Return [N] edges on the longest path from the frontier to each node."""
        steps = [0] * len(self.order)
        for node in self.order:
            for child in self.children[node]:
                steps[child] = max(steps[child], steps[node] + 1)
        return steps


def visible(snapshot: Snapshot) -> Visible:
    """Return the graph of a snapshot's nodes."""
    pointers, targets = snapshot.child_ptr.tolist(), snapshot.child.tolist()
    nodes = len(pointers) - 1
    children: list[list[int]] = [
        targets[pointers[node] : pointers[node + 1]] for node in range(nodes)
    ]
    parents: list[list[int]] = [[] for _ in range(nodes)]
    for node, mine in enumerate(children):
        for child in mine:
            parents[child].append(node)
    missing = [len(mine) for mine in parents]
    order = [node for node in range(nodes) if not missing[node]]
    for node in order:
        for child in children[node]:
            missing[child] -= 1
            if not missing[child]:
                order.append(child)
    return Visible(children, parents, order)
