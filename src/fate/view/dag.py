"""A workflow's graph as something to draw: nodes in layers, ordered so that few edges cross.

`view.dag_text` and `view.dag_svg` draw it; where it comes from, a file or a run, is their
callers' business.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Literal, TypeAlias

import msgspec

NodeKind: TypeAlias = Literal["llm", "tool", "group"]
NodeState: TypeAlias = Literal["", "waiting", "ready", "running", "done", "failed", "skipped"]

#: Sweeps of crossing reduction, down and up; and edges beyond which fewer are made.
_SWEEPS, _MANY_EDGES = 12, 4_000
#: Nodes alike in every respect that are drawn one by one; more are drawn as one.
_FEW_ALIKE = 6


class Node(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A stage to draw.

    Attributes:
        id: unique in the whole graph, `study.notes`.
        label: its name.
        detail: role, model or tool.
        marks: `x8` for a map, `↻3` for a loop, `?` for a condition, `any` for a join.
        parents: ids in the same block.
        body: what is inside a group.
        state, note: what became of it in a run.
    """

    id: str
    label: str
    kind: NodeKind
    detail: str = ""
    marks: tuple[str, ...] = ()
    parents: tuple[str, ...] = ()
    body: "tuple[Node, ...]" = ()
    state: NodeState = ""
    note: str = ""


class Dag(msgspec.Struct, frozen=True, kw_only=True):
    """A workflow to draw; parents stand before their children in every block."""

    title: str
    nodes: tuple[Node, ...] = ()


def layers(nodes: Sequence[Node]) -> dict[str, int]:
    """Return each node's layer: the length of the longest way from a root."""
    found: dict[str, int] = {}
    for node in nodes:
        found[node.id] = max((found[parent] + 1 for parent in node.parents), default=0)
    return found


def children(nodes: Sequence[Node]) -> dict[str, list[str]]:
    """Return the ids of each node's children, in order."""
    found: dict[str, list[str]] = {node.id: [] for node in nodes}
    for node in nodes:
        for parent in node.parents:
            found[parent].append(node.id)
    return found


def folded(nodes: Sequence[Node]) -> tuple[Node, ...]:
    """Return the nodes with long rows of siblings that are alike drawn as one, on every level."""
    after = children(nodes)
    alike: dict[tuple[object, ...], list[Node]] = {}
    for node in nodes:
        key = (
            node.parents,
            tuple(after[node.id]),
            node.kind,
            node.detail,
            node.marks,
            node.state,
            node.id if node.body else "",
        )
        alike.setdefault(key, []).append(node)
    stands_for = {
        node.id: row[0].id for row in alike.values() if len(row) > _FEW_ALIKE for node in row
    }
    many = {row[0].id: row for row in alike.values() if len(row) > _FEW_ALIKE}
    found: list[Node] = []
    for node in nodes:
        if stands_for.get(node.id, node.id) != node.id:
            continue
        parents = dict.fromkeys(stands_for.get(parent, parent) for parent in node.parents)
        label = node.label
        if node.id in many:
            row = many[node.id]
            label = f"{row[0].label} … {row[-1].label} ({len(row)} stages)"
        found.append(
            msgspec.structs.replace(
                node, label=label, parents=tuple(parents), body=folded(node.body)
            )
        )
    return tuple(found)


def ordered(nodes: Sequence[Node]) -> list[list[str]]:
    """Return the layers with their nodes from left to right, few edges crossing.

    Edges that span several layers pass through placeholders, `parent>child:layer`.
    """
    layer = layers(nodes)
    rows: list[list[str]] = [[] for _ in range(max(layer.values(), default=-1) + 1)]
    above: dict[str, list[str]] = {}
    below: dict[str, list[str]] = {}
    for node in nodes:
        rows[layer[node.id]].append(node.id)
    for node in nodes:
        for parent in node.parents:
            chain = [parent, *between(parent, node.id, layer), node.id]
            for place in chain[1:-1]:
                rows[int(place.rpartition(":")[2])].append(place)
            for first, second in pairwise(chain):
                below.setdefault(first, []).append(second)
                above.setdefault(second, []).append(first)
    edges = sum(map(len, below.values()))
    best, fewest = rows, _crossings(rows, below) if edges <= _MANY_EDGES else 0
    for sweep in range(_SWEEPS if edges <= _MANY_EDGES else 2):
        rows = _swept(rows, above if sweep % 2 == 0 else below, down=sweep % 2 == 0)
        crossings = _crossings(rows, below) if edges <= _MANY_EDGES else -1
        if crossings < fewest:
            best, fewest = rows, crossings
    return best


def between(parent: str, child: str, layer: Mapping[str, int]) -> list[str]:
    """Return the placeholders of an edge, one in each layer that it passes."""
    return [f"{parent}>{child}:{n}" for n in range(layer[parent] + 1, layer[child])]


def _swept(
    rows: Sequence[list[str]], neighbours: Mapping[str, list[str]], *, down: bool
) -> list[list[str]]:
    """Return the rows, each ordered by the mean place of its nodes' neighbours before it."""
    found = [list(row) for row in rows]
    numbers = range(1, len(rows)) if down else range(len(rows) - 2, -1, -1)
    for number in numbers:
        before = found[number - 1 if down else number + 1]
        places = {name: place for place, name in enumerate(before)}
        row = found[number]
        own = {name: float(place) for place, name in enumerate(row)}
        means = {
            name: _mean([places[other] for other in neighbours.get(name, ())], own[name])
            for name in row
        }
        found[number] = sorted(row, key=lambda name: (means[name], own[name]))
    return found


def _mean(values: Sequence[int], otherwise: float) -> float:
    return sum(values) / len(values) if values else otherwise


def _crossings(rows: Sequence[list[str]], below: Mapping[str, list[str]]) -> int:
    """Count the pairs of edges between neighbouring rows that cross, by insertion."""
    total = 0
    for upper, lower in pairwise(rows):
        places = {name: place for place, name in enumerate(lower)}
        seen = [0] * (len(lower) + 1)
        count = 0
        for name in upper:
            ends = sorted(places[child] for child in below.get(name, ()))
            for end in ends:
                place, before = end + 1, 0
                while place > 0:
                    before += seen[place]
                    place -= place & -place
                total += count - before
            for end in ends:
                place = end + 1
                while place <= len(lower):
                    seen[place] += 1
                    place += place & -place
                count += 1
    return total
