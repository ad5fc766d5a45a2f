"""Where the boxes and edges of a drawn graph lie: layers from top to bottom, in pixels."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TypeAlias

from fate.view.dag import Node, between, children, layers, ordered

#: Pixels between boxes side by side, between layers, and around a group's inside.
GAP_X, GAP_Y, PAD, TITLE = 24.0, 46.0, 18.0, 30.0
#: A box with two lines of text, another line, and a character's width in each.
BOX_HEIGHT, LINE, CHARACTER, SMALL_CHARACTER = 46.0, 15.0, 7.6, 6.3
#: Characters of a label or detail that are shown.
SHOWN = 30
_NARROWEST, _SWEEPS = 96.0, 8

Point: TypeAlias = tuple[float, float]


@dataclass(slots=True)
class Box:
    """A node's place; `inside` is a group's own drawing, relative to the same origin."""

    node: Node
    x: float
    y: float
    width: float
    height: float
    inside: "Drawing | None" = None


@dataclass(slots=True)
class Edge:
    """From one box to another: straight beside the boxes of a layer, curved between layers.

    `points` are the box's end and its layer's bottom, then the top and bottom of each layer that
    is passed, in the end the top of the other's layer, and its box.
    """

    parent: str
    child: str
    points: list[Point]


@dataclass(slots=True)
class Drawing:
    """A block of nodes, laid out."""

    width: float = 0.0
    height: float = 0.0
    boxes: list[Box] = field(default_factory=list[Box])
    edges: list[Edge] = field(default_factory=list[Edge])

    def shifted(self, x: float, y: float) -> "Drawing":
        """Return the drawing somewhere else."""
        return Drawing(
            self.width,
            self.height,
            [
                Box(
                    box.node,
                    box.x + x,
                    box.y + y,
                    box.width,
                    box.height,
                    None if box.inside is None else box.inside.shifted(x, y),
                )
                for box in self.boxes
            ],
            [
                Edge(e.parent, e.child, [(px + x, py + y) for px, py in e.points])
                for e in self.edges
            ],
        )


def layout(nodes: Sequence[Node]) -> Drawing:
    """Return the drawing of nodes side by side, groups with what is inside them."""
    if not nodes:
        return Drawing()
    layer, rows = layers(nodes), ordered(nodes)
    inner = {node.id: layout(node.body) for node in nodes if node.body}
    sizes = {node.id: _size(node, inner.get(node.id)) for node in nodes}
    widths = {name: sizes[name][0] if name in sizes else 2.0 for row in rows for name in row}
    xs = _places(rows, _links(nodes, layer), widths)
    tops, bottoms, y = list[float](), list[float](), 0.0
    for row in rows:
        height = max((sizes[name][1] for name in row if name in sizes), default=0.0)
        tops.append(y)
        bottoms.append(y + height)
        y += height + GAP_Y
    found = Drawing(
        width=max(xs[name] + widths[name] / 2 for row in rows for name in row),
        height=bottoms[-1],
    )
    for node in nodes:
        width, height = sizes[node.id]
        x, top = xs[node.id] - width / 2, tops[layer[node.id]]
        body = inner.get(node.id)
        inside = None if body is None else body.shifted(
            x + (width - body.width) / 2, top + TITLE
        )  # fmt: skip
        found.boxes.append(Box(node, x, top, width, height, inside))
    by_id = {box.node.id: box for box in found.boxes}
    for node in nodes:
        for parent in node.parents:
            source, target = by_id[parent], by_id[node.id]
            x = xs[parent]
            points: list[Point] = [(x, source.y + source.height), (x, bottoms[layer[parent]])]
            for place in between(parent, node.id, layer):
                number = int(place.rpartition(":")[2])
                points += [(xs[place], tops[number]), (xs[place], bottoms[number])]
            points += [(xs[node.id], tops[layer[node.id]]), (xs[node.id], target.y)]
            found.edges.append(Edge(parent, node.id, points))
    return found


def _size(node: Node, inside: Drawing | None) -> tuple[float, float]:
    marks = sum(len(mark) + 2 for mark in node.marks)
    label = min(len(node.label), SHOWN) * CHARACTER + marks * SMALL_CHARACTER
    detail = max(min(len(text), SHOWN) for text in (node.detail, node.note)) * SMALL_CHARACTER
    width = max(label, detail, _NARROWEST - 28.0) + 28.0
    if inside is None:
        return width, BOX_HEIGHT + (LINE if node.note and node.detail else 0.0)
    return max(width, inside.width + 2 * PAD), inside.height + TITLE + PAD


def _links(nodes: Sequence[Node], layer: Mapping[str, int]) -> dict[str, list[str]]:
    """Return the neighbours of every node and placeholder, above and below."""
    found: dict[str, list[str]] = {}
    for name, after in children(nodes).items():
        for child in after:
            chain = [name, *between(name, child, layer), child]
            for first, second in pairwise(chain):
                found.setdefault(first, []).append(second)
                found.setdefault(second, []).append(first)
    return found


def _places(
    rows: Sequence[Sequence[str]], links: Mapping[str, list[str]], widths: Mapping[str, float]
) -> dict[str, float]:
    """Return the middle of every node: near the mean of its neighbours, without overlaps."""
    found: dict[str, float] = {}
    for row in rows:
        x = 0.0
        for name in row:
            found[name] = x + widths[name] / 2
            x += widths[name] + GAP_X
    for sweep in range(_SWEEPS):
        for row in rows if sweep % 2 == 0 else reversed(rows):
            wished = [
                sum(found[other] for other in links[name]) / len(links[name])
                if name in links
                else found[name]
                for name in row
            ]
            gaps = [(widths[first] + widths[second]) / 2 + GAP_X for first, second in pairwise(row)]
            found.update(zip(row, _spread(wished, gaps), strict=True))
    left = min(found[name] - widths[name] / 2 for name in found)
    return {name: x - left for name, x in found.items()}


def _spread(wished: Sequence[float], gaps: Sequence[float]) -> list[float]:
    """Return places in the given order, at least `gaps` apart, closest to what was wished.

    Least squares: with the gaps taken off it is isotonic regression, by pooling neighbours.
    """
    offsets = [0.0]
    for gap in gaps:
        offsets.append(offsets[-1] + gap)
    pools: list[list[float]] = []
    for wish, offset in zip(wished, offsets, strict=True):
        pools.append([wish - offset, 1.0])
        while len(pools) > 1 and pools[-2][0] > pools[-1][0]:
            mean, count = pools.pop()
            before = pools[-1]
            before[0] = (before[0] * before[1] + mean * count) / (before[1] + count)
            before[1] += count
    flat = [mean for mean, count in pools for _ in range(int(count))]
    return [place + offset for place, offset in zip(flat, offsets, strict=True)]
