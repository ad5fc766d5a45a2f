"""Drawn graphs: layers, crossings, text and SVG, odd shapes among them."""

import random
from xml.etree import ElementTree as ET

import pytest

from fate.view.dag import Dag, Node, folded, layers, ordered
from fate.view.dag_layout import Box, Drawing, layout
from fate.view.dag_svg import dag_svg
from fate.view.dag_text import dag_text

SVG = "{http://www.w3.org/2000/svg}"


def node(name: str, *parents: str, **fields: object) -> Node:
    """A call of one model, unless the fields say otherwise."""
    given = {"label": name, "kind": "llm", "detail": "fast", **fields}
    return Node(id=name, parents=parents, **given)  # pyright: ignore[reportArgumentType]  # any fields


def dag(*nodes: Node) -> Dag:
    """A graph under a name."""
    return Dag(title="demo", nodes=nodes)


DIAMOND = (node("a"), node("b", "a"), node("c", "a"), node("d", "b", "c"))
NESTED = (
    node("split", kind="tool", detail="split"),
    node(
        "study",
        "split",
        kind="group",
        detail="",
        marks=("x8",),
        body=(
            node("study.notes", label="notes"),
            node("study.check", "study.notes", label="check", marks=("↻3",)),
        ),
    ),
    node("end", "study", marks=("?",)),
)


def test_a_layer_is_the_longest_way_from_a_root() -> None:
    """Not the shortest: a stage stands below all it needs."""
    assert layers([*DIAMOND, node("e", "a", "d")]) == {"a": 0, "b": 1, "c": 1, "d": 2, "e": 3}


def test_neighbours_are_ordered_so_that_edges_do_not_cross() -> None:
    """Written crosswise, drawn straight."""
    crossed = [node("a"), node("b"), node("c", "b"), node("d", "a")]
    assert ordered(crossed) in ([["a", "b"], ["d", "c"]], [["b", "a"], ["c", "d"]])


def test_the_text_of_a_diamond() -> None:
    """One line each; rails end where nobody needs them any more."""
    assert dag_text(dag(*DIAMOND), 80).splitlines() == [
        "demo: 4 stages, 3 after each other at most",
        "●   a  fast",
        "├─● b  fast",
        "● │ c  fast",
        "●─┘ d  fast",
    ]


def test_groups_are_boxes_and_marks_stand_behind_names() -> None:
    """What is inside is indented, rails of the outside go on beside it."""
    assert dag_text(dag(*NESTED), 80).splitlines() == [
        "demo: 5 stages, 3 after each other at most",
        "◆ split  split",
        "● ╭─ study x8",
        "│ │  ● notes     fast",
        "│ │  ● check ↻3  fast",
        "│ ╰─",
        "● end ?  fast",
    ]


def test_terminals_without_box_characters_get_plain_ones() -> None:
    """The same drawing in ASCII."""
    text = dag_text(dag(*NESTED), 80, ascii_only=True)
    assert text.isascii()
    assert "* /- study x8" in text


def test_no_line_is_wider_than_the_terminal() -> None:
    """Names may be of any length."""
    text = dag_text(dag(node("n" * 200), node("m", "n" * 200)), 40)
    assert all(len(line) <= 40 for line in text.splitlines())
    assert "…" in text


def test_long_rows_of_stages_alike_are_drawn_as_one() -> None:
    """Edges to and from them are one too; few are left alone."""
    row = [node(f"s{n}", "a") for n in range(500)]
    many = folded([node("a"), *row, node("z", *[n.id for n in row])])
    assert [n.label for n in many] == ["a", "s0 … s499 (500 stages)", "z"]
    assert many[-1].parents == ("s0",)
    assert len(folded(DIAMOND)) == 4


def random_dag(count: int, seed: int) -> Dag:
    """Stages with up to three parents each, anywhere above."""
    draw = random.Random(seed)  # noqa: S311 - graphs, no secrets
    return dag(
        *[
            node(
                f"s{n}",
                *[f"s{p}" for p in sorted(draw.sample(range(n), min(n, draw.randrange(4))))],
            )
            for n in range(count)
        ]
    )


def boxes(drawing: Drawing) -> list[Box]:
    """The boxes of one block."""
    return drawing.boxes


@pytest.mark.parametrize("seed", range(5))
def test_boxes_do_not_overlap_and_edges_go_down(seed: int) -> None:
    """On any graph: children below their parents, every edge from box to box."""
    drawn = random_dag(60, seed)
    drawing = layout(drawn.nodes)
    found = {box.node.id: box for box in boxes(drawing)}
    for n, first in enumerate(drawing.boxes):
        assert first.x >= 0
        assert first.x + first.width <= drawing.width + 1e-6
        for second in drawing.boxes[n + 1 :]:
            apart = (
                first.x + first.width <= second.x + 1e-6
                or second.x + second.width <= first.x + 1e-6
                or first.y + first.height <= second.y + 1e-6
                or second.y + second.height <= first.y + 1e-6
            )
            assert apart, (first.node.id, second.node.id)
    assert len(drawing.edges) == sum(len(n.parents) for n in drawn.nodes)
    for edge in drawing.edges:
        parent, child = found[edge.parent], found[edge.child]
        heights = [y for _, y in edge.points]
        assert heights == sorted(heights)
        assert heights[0] == parent.y + parent.height
        assert heights[-1] == child.y


def test_what_is_in_a_group_lies_inside_its_box() -> None:
    """With room for the group's name."""
    (group,) = [box for box in layout(NESTED).boxes if box.inside is not None]
    assert group.inside is not None
    for box in group.inside.boxes:
        assert group.x < box.x
        assert box.x + box.width < group.x + group.width
        assert group.y + 20 < box.y
        assert box.y + box.height < group.y + group.height


@pytest.mark.parametrize(
    "drawn",
    [
        dag(),
        dag(node("only")),
        dag(node("a"), node("b"), node("c")),
        dag(*NESTED),
        dag(node("<&\"'>" * 20)),
        random_dag(1000, 7),
    ],
    ids=["empty", "one", "roots", "nested", "odd names", "thousand"],
)
def test_the_svg_is_well_formed_and_asks_for_nothing(drawn: Dag) -> None:
    """One box per stage; no script, link or address but the namespace."""
    text = dag_svg(drawn)
    tree = ET.fromstring(text)
    groups = list(tree.iter(f"{SVG}g"))
    count = len(folded(drawn.nodes)) + sum(len(n.body) for n in drawn.nodes)
    assert len(groups) == count
    assert "script" not in text
    assert text.count("http") == 1
    assert "prefers-color-scheme: dark" in text


def test_states_of_a_run_show_in_both() -> None:
    """What is done, what failed, what never ran."""
    run = dag(
        node("a", state="done", note="0.0-1.2 s"),
        node("b", "a", state="failed"),
        node("c", "b", state="skipped"),
    )
    assert dag_text(run, 80).splitlines()[1:] == [
        "● + a  fast  0.0-1.2 s",
        "● x b  fast",
        "● - c  fast",
    ]
    assert 'class="node failed"' in dag_svg(run)
