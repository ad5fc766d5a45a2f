"""A workflow's graph as one SVG file: no script, nothing from elsewhere, light and dark."""

from collections.abc import Iterator
from html import escape

from fate.view.dag import Dag, Node, folded
from fate.view.dag_layout import SHOWN, SMALL_CHARACTER, TITLE, Box, Drawing, Edge, layout

_MARGIN, _HEAD = 24.0, 34.0
#: Hues of models and tools, in order of appearance; they repeat beyond these.
_HUES = (212, 28, 145, 275, 350, 185, 55, 320)
_STYLE = """
svg { color-scheme: light dark; background: var(--paper); --paper: #fff; --ink: #1b1f24;
  --quiet: #5b6570; --line: #8b96a3; --group: #f4f6f8; --tint: 92%; --edge: 42%; --bad: #c62828;
  font-family: ui-sans-serif, system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; }
@media (prefers-color-scheme: dark) { svg { --paper: #14171a; --ink: #e8ecf0; --quiet: #9aa6b2;
  --line: #6c7885; --group: #1c2126; --tint: 20%; --edge: 62%; --bad: #ff6b6b; } }
text { fill: var(--ink); font-size: 13px; }
.title { font-size: 15px; font-weight: 600; }
.small { fill: var(--quiet); font-size: 11px; }
.mark { fill: var(--ink); font-size: 11px; font-weight: 600; }
.node rect { fill: hsl(var(--hue) 70% var(--tint)); stroke: hsl(var(--hue) 55% var(--edge));
  stroke-width: 1.4; }
.group > rect { fill: var(--group); stroke: var(--line); stroke-dasharray: 5 4; }
.edge { fill: none; stroke: var(--line); stroke-width: 1.4; }
.arrow { fill: var(--line); }
.waiting, .skipped { opacity: .55; }
.waiting > rect { stroke-dasharray: 3 3; }
.skipped > .name { text-decoration: line-through; }
.running > rect { stroke-width: 3.2; }
.failed > rect { stroke: var(--bad); stroke-width: 3.2; }
""".strip()


def dag_svg(dag: Dag) -> str:
    """Return the picture."""
    nodes = folded(dag.nodes)
    drawing = layout(nodes).shifted(_MARGIN, _MARGIN + _HEAD)
    width = max(drawing.width, 8.5 * len(dag.title)) + 2 * _MARGIN
    height = drawing.height + _HEAD + 2 * _MARGIN
    hues = {what: _HUES[n % len(_HUES)] for n, what in enumerate(_details(nodes))}
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" '
        f'width="{width:.0f}" height="{height:.0f}" role="img">',
        f"<title>{escape(dag.title)}</title>",
        f"<style>{_STYLE}</style>",
        '<defs><marker id="arrow" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" '
        'markerHeight="7" orient="auto"><path class="arrow" d="M0 0.6 8 4 0 7.4z"/></marker>'
        "</defs>",
        '<rect width="100%" height="100%" style="fill: var(--paper)"/>',
        _text("title", _MARGIN, _MARGIN + 12, dag.title),
        *_drawing(drawing, hues),
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def _details(nodes: tuple[Node, ...]) -> dict[str, None]:
    """Return the models and tools in order of appearance, groups looked into."""
    found: dict[str, None] = {}
    for node in nodes:
        if node.body:
            found |= _details(node.body)
        else:
            found[node.detail] = None
    return found


def _drawing(drawing: Drawing, hues: dict[str, int]) -> Iterator[str]:
    for edge in drawing.edges:
        yield _edge(edge)
    for box in drawing.boxes:
        yield from _box(box, hues)


def _box(box: Box, hues: dict[str, int]) -> Iterator[str]:
    node, x, y = box.node, box.x, box.y
    what = "group" if box.inside is not None else "node"
    radius = 10 if box.inside is not None else box.height / 2 if node.kind == "tool" else 7
    hue = hues.get(node.detail, _HUES[0])
    yield f'<g class="{what} {node.state}" style="--hue: {hue}">'.replace(' "', '"', 1)
    yield f"<title>{escape(_tooltip(node))}</title>"
    yield (
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{box.width:.1f}" height="{box.height:.1f}" '
        f'rx="{radius:.0f}"/>'
    )
    if box.inside is not None:
        yield _text("name", x + 12, y + TITLE - 10, _short(node.label))
        yield from _marks(node, x + box.width - 12, y + TITLE - 10)
        yield from _drawing(box.inside, hues)
        if node.note:
            yield _text("small", x + 12 + 8.2 * len(_short(node.label)), y + TITLE - 10, node.note)
    else:
        yield _text("name", x + 14, y + 20, _short(node.label))
        yield from _marks(node, x + box.width - 12, y + 20)
        for number, text in enumerate(filter(None, (node.detail, node.note))):
            yield _text("small", x + 14, y + 36 + 15 * number, _short(text))
    yield "</g>"


def _marks(node: Node, right: float, y: float) -> Iterator[str]:
    for mark in reversed(node.marks):
        yield _text("mark", right, y, mark, anchor="end")
        right -= (len(mark) + 1.5) * SMALL_CHARACTER


def _edge(edge: Edge) -> str:
    (x, y), *rest = edge.points
    path = f"M{x:.1f} {y:.1f}"
    for number, (to_x, to_y) in enumerate(rest):
        if number % 2 == 0:
            if to_y == y:
                continue  # a piece without a length would turn the arrow
            path += f" L{to_x:.1f} {to_y:.1f}"
        else:
            middle = (y + to_y) / 2
            path += f" C{x:.1f} {middle:.1f} {to_x:.1f} {middle:.1f} {to_x:.1f} {to_y:.1f}"
        x, y = to_x, to_y
    return f'<path class="edge" marker-end="url(#arrow)" d="{path}"/>'


def _text(kind: str, x: float, y: float, text: str, *, anchor: str = "") -> str:
    where = f' text-anchor="{anchor}"' if anchor else ""
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}"{where}>{escape(text)}</text>'


def _tooltip(node: Node) -> str:
    return " · ".join(p for p in (node.id, *node.marks, node.detail, node.state, node.note) if p)


def _short(text: str) -> str:
    return text if len(text) <= SHOWN else text[: SHOWN - 1] + "…"
