"""Which stages a snapshot shows beside the ready ones, and how they follow each other.

`none`: the frontier alone. `near`: breadth-first from the frontier, bounded in depth and number, as
a horizon term needs it. `all`: every stage that is not ready yet with every edge, as a search over
the whole DAG needs it; maps that wait are cut into the chunks they would have.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import NamedTuple

from fate.core.foretold import Foretold
from fate.core.instances import Instance
from fate.core.lifecycle import Lifecycle
from fate.core.options import SchedulerOptions
from fate.core.pool import ReadyChunk, Work
from fate.domain.graph import Chunk

#: Children of one node that a bounded look ahead shows at most, strided over all of them.
_CHILDREN = 8


class Edge(NamedTuple):
    """From a node to the row of a child: its weight, and the seconds of tools in between."""

    child: int
    share: float
    after_s: float


@dataclass(slots=True)
class Nodes:
    """The nodes of a snapshot, row by row.

    `owners` has the instance of each, `works` what it costs, `names` what it is called, `items`
    how many it has, `edges` its children, `released_at_s` when its running parents end.
    """

    frontier: list[ReadyChunk]
    owners: list[Instance]
    works: list[Work]
    names: list[str]
    items: list[int]
    edges: list[list[Edge]] = field(default_factory=list[list[Edge]])
    released_at_s: list[float] = field(default_factory=list[float])

    def add(self, instance: Instance, name: str, work: Work, items: int) -> int:
        """Add a waiting node; return its row."""
        self.owners.append(instance)
        self.works.append(work)
        self.names.append(name)
        self.items.append(items)
        return len(self.owners) - 1


def ready_nodes(frontier: list[ReadyChunk], lifecycle: Lifecycle) -> Nodes:
    """Return the frontier's chunks as nodes without edges."""
    return Nodes(
        frontier,
        [lifecycle.instances[ready.chunk.instance] for ready in frontier],
        [ready.work for ready in frontier],
        [str(ready.chunk) for ready in frontier],
        [ready.chunk.stop - ready.chunk.start for ready in frontier],
        [[] for _ in frontier],
        [0.0] * len(frontier),
    )


def look_near(nodes: Nodes, lifecycle: Lifecycle, options: SchedulerOptions) -> None:
    """Add waiting stages, generation by generation, within depth and number."""
    row_of: dict[int, int] = {}
    nodes.edges = [[] for _ in nodes.owners]
    layer = list(enumerate(nodes.owners))
    for _ in range(options.lookahead_depth):
        below: list[tuple[int, Instance]] = []
        for row, instance in layer:
            for child in _strided(instance.next_calls):
                if child.status != "waiting":
                    continue
                if child.number not in row_of:
                    if len(row_of) >= options.lookahead_max:
                        continue
                    at = nodes.add(child, child.id, lifecycle.expect.waiting(child), _count(child))
                    row_of[child.number] = at
                    nodes.edges.append([])
                    below.append((at, child))
                nodes.edges[row].append(Edge(row_of[child.number], _share(instance, child), 0.0))
        layer = below
    nodes.released_at_s = [0.0] * len(nodes.owners)


def look_everywhere(
    nodes: Nodes, lifecycle: Lifecycle, running: Foretold, options: SchedulerOptions, now_s: float
) -> None:
    """Add every stage that is not ready, by age, up to a number, with every edge."""
    rows_of = add_waiting(nodes, lifecycle, options)
    nodes.edges = [
        [
            Edge(row, _share(owner, child) / len(rows), tools_s[child.number])
            for child in owner.next_calls
            for rows in (rows_of.get(child.number, ()),)
            for row in rows
        ]
        for owner in nodes.owners
        for tools_s in (_tools_s(owner),)
    ]
    nodes.released_at_s = _released(nodes, lifecycle, running, rows_of, now_s)


def add_waiting(
    nodes: Nodes, lifecycle: Lifecycle, options: SchedulerOptions
) -> dict[int, list[int]]:
    """Add every stage that is not ready, by age, up to a number; return their rows by instance."""
    rows_of: dict[int, list[int]] = {}
    for instance in lifecycle.not_ready():
        if len(nodes.owners) >= options.visible_max:
            break
        rows_of[instance.number] = _add_parts(nodes, lifecycle, instance)
    return rows_of


def _add_parts(nodes: Nodes, lifecycle: Lifecycle, instance: Instance) -> list[int]:
    """Add a waiting instance, in the chunks that it would be dispatched in."""
    count = _count(instance)
    size = lifecycle.ready.chunk_items(instance, count)
    rows: list[int] = []
    for start in range(0, count, size):
        stop = min(start + size, count)
        work = lifecycle.expect.part(instance, stop - start)
        name = str(Chunk(instance.id, start, stop))  # it keeps its name when it is ready
        rows.append(nodes.add(instance, name, work, stop - start))
    return rows


def _released(
    nodes: Nodes,
    lifecycle: Lifecycle,
    running: Foretold,
    rows_of: dict[int, list[int]],
    now_s: float,
) -> list[float]:
    """Return when the parents of each node that are under way, but no nodes, are expected to end.

    Those are chunks and tools that run, and tools that are about to.
    """
    released_at_s = [0.0] * len(nodes.owners)

    def release(instance: Instance, at_s: float) -> None:
        for number, tools_s in _tools_s(instance).items():
            for row in rows_of.get(number, ()):
                released_at_s[row] = max(released_at_s[row], at_s + tools_s)

    for chain, expected in running.chains.items():
        if chain.chunk is not None:
            release(lifecycle.instances[chain.chunk.instance], expected.end_s)
    for chunk in lifecycle.ready.tools:
        tool = lifecycle.instances[chunk.instance]
        release(tool, now_s + tool.own_s)
    return released_at_s


def _tools_s(parent: Instance) -> dict[int, float]:
    """Return the seconds of tools before each of a stage's next calls, by number: the longest way.

    A call may follow its parent directly, too: the next turn of an agent reads what it said before
    and what its tools have answered.
    """
    before_s = dict.fromkeys([call.number for call in parent.next_calls], 0.0)
    done_s = dict[int, float]()
    reached = [(parent.number, parent)]
    while reached:  # numbers rise from parents to children: a tool comes when all ways to it have
        _, instance = heappop(reached)
        at_s = done_s.get(instance.number, 0.0)
        for call in instance.next_calls:
            before_s[call.number] = max(before_s.get(call.number, 0.0), at_s)
        for tool in instance.children:
            if tool.stage.kind == "tool":
                if tool.number not in done_s:
                    heappush(reached, (tool.number, tool))
                done_s[tool.number] = max(done_s.get(tool.number, 0.0), at_s + tool.own_s)
    return before_s


def _share(instance: Instance, child: Instance) -> float:
    return child.probability / max(child.calls_left, 1) / max(instance.open_chunks, 1)


def _count(instance: Instance) -> int:
    return max(instance.stage.items, 1)


def _strided(children: Sequence[Instance]) -> Sequence[Instance]:
    """Return at most `_CHILDREN` of them, evenly spread."""
    return children[:: -(-len(children) // _CHILDREN) or 1]
