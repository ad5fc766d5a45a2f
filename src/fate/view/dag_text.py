"""A workflow's graph in a terminal: a line per stage, rails for what later stages still need."""

from collections.abc import Sequence

from fate.view.dag import Dag, Node, NodeState, children, folded, layers, ordered

#: How each state of a stage is marked in a run's graph.
_STATES: dict[NodeState, str] = {
    "": "",
    "waiting": ". ",
    "ready": "o ",
    "running": "> ",
    "done": "+ ",
    "failed": "x ",
    "skipped": "- ",
}
#: Rails beyond which parents are named instead of drawn.
_MOST_RAILS = 24
#: The same drawing for terminals without box characters.
_ASCII = str.maketrans(
    {"│": "|", "─": "-", "├": "|", "┤": "|", "└": "`", "┘": "'", "┴": "+", "┼": "+", "●": "*",
     "◆": "#", "╭": "/", "╰": "\\", "↻": "@", "…": "~", "←": "<", "·": "."}
)  # fmt: skip


def dag_text(dag: Dag, width: int, *, ascii_only: bool = False) -> str:
    """Return the drawing; lines are cut at `width`."""
    count = sum(1 for _ in _walk(dag.nodes))
    depth = max(layers(dag.nodes).values(), default=-1) + 1
    lines = [
        f"{dag.title}: {count} stage{'' if count == 1 else 's'}, "
        f"{depth} after each other at most" if count else f"{dag.title}: no stages"
    ]  # fmt: skip
    lines += _block(folded(dag.nodes))
    cut = [line if len(line) <= width else line[: max(width - 1, 0)] + "…" for line in lines]
    text = "\n".join(line.rstrip() for line in cut)
    return text.translate(_ASCII) if ascii_only else text


def _walk(nodes: Sequence[Node]) -> list[Node]:
    found: list[Node] = []
    for node in nodes:
        found += [node, *_walk(node.body)]
    return found


def _block(nodes: Sequence[Node]) -> list[str]:
    """Return the lines of stages side by side, layer by layer."""
    by_id = {node.id: node for node in nodes}
    order = [by_id[name] for row in ordered(nodes) for name in row if name in by_id]
    rails = _Rails(nodes)
    drawn = [(node, rails.step(node)) for node in order]
    if rails.widest > _MOST_RAILS:
        return [line for node in nodes for line in _named(node)]
    room = 2 * rails.widest
    plain = [node for node in nodes if not node.body]
    label = max((len(_name(node)) for node in plain), default=0)
    detail = max((len(node.detail) for node in plain if node.note), default=0)
    lines: list[str] = []
    for node, (head, passing) in drawn:
        if not node.body:
            facts = f"{node.detail:{detail}}  {node.note}"
            lines.append(f"{head:{room}}{_name(node):{label}}  {facts}")
            continue
        side = f"{passing:{room}}"
        lines.append(f"{head:{room}}╭─ {_name(node)}  {_facts(node)}")
        lines += [f"{side}│  {line}" for line in _block(node.body)]
        lines.append(f"{side}╰─")
    return lines


def _named(node: Node) -> list[str]:
    """Return a stage with its parents in words, for graphs too wide to draw."""
    needs = f"  ← {', '.join(node.parents)}" if node.parents else ""
    lines = [f"● {_name(node)}  {_facts(node)}{needs}"]
    if node.body:
        lines += [f"  │  {line}" for line in _block(node.body)]
    return lines


def _name(node: Node) -> str:
    return _STATES[node.state] + " ".join((node.label, *node.marks))


def _facts(node: Node) -> str:
    return "  ".join(part for part in (node.detail, node.note) if part)


class _Rails:
    """One rail per stage whose output a stage further down needs, each in a column of its own."""

    def __init__(self, nodes: Sequence[Node]) -> None:
        self._left = {name: len(after) for name, after in children(nodes).items()}
        self._columns: list[str | None] = []
        self.widest = 0

    def step(self, node: Node) -> tuple[str, str]:
        """Place a stage; return its line of rails, and the rails beside what is below it."""
        needs: dict[int, bool] = {}
        for parent in node.parents:
            self._left[parent] -= 1
            needs[self._columns.index(parent)] = self._left[parent] == 0
        before = list(self._columns)
        for place, ends in needs.items():
            if ends:
                self._columns[place] = None
        ending = [place for place, ends in needs.items() if ends]
        place = min(ending) if ending else self._free()
        if place == len(self._columns):
            self._columns.append(None)
            before.append(None)
        self._columns[place] = node.id if self._left[node.id] else None
        self.widest = max(self.widest, len(self._columns))
        head = self._head(before, needs, place, "◆" if node.kind == "tool" else "●")
        while self._columns and self._columns[-1] is None:
            self._columns.pop()
        return head, "".join("│ " if source else "  " for source in self._columns)

    def _free(self) -> int:
        free = [n for n, source in enumerate(self._columns) if source is None]
        return free[0] if free else len(self._columns)

    def _head(
        self, before: Sequence[str | None], needs: dict[int, bool], place: int, glyph: str
    ) -> str:
        sides = [other for other in needs if other != place]
        low, high = min([place, *sides]), max([place, *sides])
        text = ""
        for column, source in enumerate(before):
            inside = low <= column < high
            if column == place:
                text += glyph
            elif column in needs:
                text += _corner(
                    ends=needs[column], right=column > place, edge=column in (low, high)
                )
            elif source is not None:
                text += "│"
            else:
                text += "─" if low < column < high else " "
            text += "─" if inside else " "
        return text


def _corner(*, ends: bool, right: bool, edge: bool) -> str:
    """Return how a rail meets the line to its stage: it ends there, or goes on."""
    if not edge:
        return "┴" if ends else "┼"
    if right:
        return "┘" if ends else "┤"
    return "└" if ends else "├"
