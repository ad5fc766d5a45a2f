"""Ranks and schedules of whole graphs, against published tables and by hand."""

import json
from itertools import pairwise
from math import inf
from pathlib import Path
from typing import Any

import pytest

from fate.policy.board import Board
from fate.policy.dag import (
    Dag,
    Edge,
    Rule,
    cpop,
    critical_path,
    downward_rank,
    heft,
    make_dag,
    optimistic_cost,
    parents_of,
    peft,
    upward_rank,
)
from fate.policy.lines import BlindLines

#: The sample graph of Topcuoglu, Hariri, Wu 2002: work on three processors, edges with their cost.
TOPCUOGLU = (
    [(14, 16, 9), (13, 19, 18), (11, 13, 19), (13, 8, 17), (12, 13, 10), (13, 16, 9), (7, 15, 11),
     (5, 11, 14), (18, 12, 20), (21, 7, 16)],
    [(1, 2, 18), (1, 3, 12), (1, 4, 9), (1, 5, 11), (1, 6, 14), (2, 8, 19), (2, 9, 16), (3, 7, 23),
     (4, 8, 27), (4, 9, 23), (5, 9, 13), (6, 8, 15), (7, 10, 17), (8, 10, 11), (9, 10, 13)],
)  # fmt: skip
#: The sample graph of Arabnejad, Barbosa 2014.
ARABNEJAD = (
    [(22, 21, 36), (22, 18, 18), (32, 27, 43), (7, 10, 4), (29, 27, 35), (26, 17, 24), (14, 25, 30),
     (29, 23, 36), (15, 21, 8), (13, 16, 33)],
    [(1, 2, 17), (1, 3, 31), (1, 4, 29), (1, 5, 13), (1, 6, 7), (2, 8, 3), (2, 9, 30), (3, 7, 16),
     (4, 8, 11), (4, 9, 7), (5, 9, 57), (6, 8, 5), (7, 10, 9), (8, 10, 42), (9, 10, 7)],
)  # fmt: skip

Table = tuple[list[tuple[int, ...]], list[tuple[int, int, int]]]
#: More of the same, with whole schedules; not part of the repository, but beside it.
REFERENCE = "shared/data/classic_schedules.json"


def graph(table: Table) -> Dag:
    """Return a table as a graph; an edge is paid in full between any two processors."""
    work, edges = table
    children: list[list[Edge]] = [[] for _ in work]
    for parent, child, cost in edges:
        children[parent - 1].append(Edge(child - 1, float(cost)))
    count = len(work[0])
    link = [[(0.0, float(a != b)) for b in range(count)] for a in range(count)]
    return make_dag([[float(s) for s in row] for row in work], children, link)


def schedule(dag: Dag, rule: Rule) -> Board:
    """Schedule a whole graph on idle processors, data moving beside the work."""
    lines = BlindLines(dag.work_s, [[0.0]] * dag.devices, 0.0)
    board = Board(dag, lines, [0.0] * len(dag.work_s))
    board.fill(rule(dag), set(range(len(dag.work_s))))
    check(board)
    return board


def check(board: Board) -> None:
    """Every task once, after its parents and their data; no two at once on a processor."""
    parents = parents_of(board.dag)
    for task, device in enumerate(board.device):
        assert device >= 0
        length = board.finish_s[task] - board.start_s[task]
        assert length == pytest.approx(board.dag.work_s[task][device])
        for parent, units, _ in parents[task]:
            away = units if board.device[parent] != device else 0.0
            assert board.start_s[task] >= board.finish_s[parent] + away - 1e-9
    for order in board.orders():
        for before, after in pairwise(order):
            assert board.start_s[after] >= board.finish_s[before] - 1e-9


@pytest.mark.parametrize(
    ("table", "rule", "makespan_s"),
    [
        (TOPCUOGLU, heft, 80),
        (TOPCUOGLU, cpop, 86),
        (ARABNEJAD, peft, 122),
        (ARABNEJAD, heft, 133),
    ],
)
def test_published_makespans(table: Table, rule: Rule, makespan_s: int) -> None:
    """The papers' own examples come out as printed."""
    assert max(schedule(graph(table), rule).finish_s) == pytest.approx(makespan_s)


def test_upward_ranks_are_as_printed() -> None:
    """Table 2 of Topcuoglu et al., tasks 1 to 10."""
    printed = [108.0, 77.0, 80.0, 80.0, 69.0, 63.333, 42.667, 35.667, 44.333, 14.667]
    assert upward_rank(graph(TOPCUOGLU)) == pytest.approx(printed, abs=1e-3)


def test_downward_ranks_and_the_critical_path() -> None:
    """Rank sums are equal along the path 1-2-9-10, and highest there."""
    dag = graph(TOPCUOGLU)
    down = downward_rank(dag)
    assert down == pytest.approx([0, 31, 25, 22, 24, 27, 62.333, 66.667, 63.667, 93.333], abs=1e-3)
    sums = [a + b for a, b in zip(upward_rank(dag), down, strict=True)]
    path = critical_path(dag, sums)
    assert [task + 1 for task in path] == [1, 2, 9, 10]
    assert [sums[task] for task in path] == pytest.approx([max(sums)] * 4)
    board = schedule(dag, cpop)
    assert [board.device[task] for task in path] == [1, 1, 1, 1]


def test_the_optimistic_cost_table() -> None:
    """Rows of tasks 1, 5 and 8 of Arabnejad and Barbosa's example."""
    table = optimistic_cost(graph(ARABNEJAD))
    assert [table[task - 1] for task in (1, 5, 8)] == [[64, 68, 86], [28, 37, 28], [13, 16, 33]]


def test_the_schedules_of_the_reference_file() -> None:
    """Ranks, tables and whole schedules of both examples, slot by slot."""
    found = [above / REFERENCE for above in Path(__file__).parents]
    file = next((path for path in found if path.exists()), None)
    if file is None:
        pytest.skip("no reference schedules on this machine")
    seen = 0
    for case in json.loads(file.read_text(encoding="utf-8")):
        count = len(case["computation"])
        work = [tuple(case["computation"][str(task + 1)]) for task in range(count)]
        dag = graph((work, [tuple(edge) for edge in case["edges"]]))
        expected = case["expected"]
        for rule in (heft, cpop, peft):
            name = rule.__name__
            published = {**expected["published"], **expected["computed_not_published"]}
            board = schedule(dag, rule)
            assert max(board.finish_s) == pytest.approx(published[f"{name}_makespan"])
            if f"{name}_schedule" in expected:
                same_schedule(board, expected[f"{name}_schedule"])
                seen += 1
        assert upward_rank(dag) == pytest.approx(column(expected["upward_rank"]), abs=1e-3)
        if "oct_table" in expected:
            assert optimistic_cost(dag) == column(expected["oct_table"])
            assert peft(dag).priority == pytest.approx(column(expected["rank_oct"]), abs=1e-3)
    assert seen == 4


def column(values: dict[str, Any]) -> list[Any]:
    """Return what is given by task number as a list."""
    return [values[str(task + 1)] for task in range(len(values))]


def same_schedule(board: Board, expected: dict[str, Any]) -> None:
    """Compare processor, start and finish of every task."""
    for task, slot in enumerate(column(expected)):
        found = (board.device[task], board.start_s[task], board.finish_s[task])
        assert found == pytest.approx((slot["processor"], slot["start"], slot["finish"])), task + 1


def test_a_task_that_fits_nowhere_holds_nobody_up() -> None:
    """It is left out; its child starts as if it were done."""
    dag = make_dag([[inf, inf], [2.0, inf]], [[Edge(1, 5.0)], []], [[(0.0, 1.0)] * 2] * 2)
    for rule in (heft, cpop, peft):
        lines = BlindLines(dag.work_s, [[0.0], [0.0]], 0.0)
        board = Board(dag, lines, [0.0, 0.0], [[0.0, 0.0], [0.0, 0.0]])
        board.fill(rule(dag), {0, 1})
        assert board.device == [-1, 0] and board.finish_s[1] == 2.0


def test_a_path_that_fits_no_single_device_is_split() -> None:
    """CPOP: the device that can run most of the path gets that part, the rest goes elsewhere."""
    work = [[3.0, 1.0], [2.0, inf], [4.0, 1.0]]
    dag = make_dag(work, [[Edge(1, 0.0)], [Edge(2, 0.0)], []], [[(0.0, 0.0)] * 2] * 2)
    board = Board(dag, BlindLines(work, [[0.0], [0.0]], 0.0), [0.0] * 3, [[0.0, 0.0]] * 3)
    board.fill(cpop(dag), {0, 1, 2})
    assert board.device == [0, 0, 0]


def test_gathering_holds_the_slot_where_data_does_not_move_beside_the_work() -> None:
    """A child elsewhere: 3 s of transfer delay its start beside the work, or lengthen it."""
    work = [[2.0, inf], [inf, 4.0]]
    dag = make_dag(
        work, [[Edge(1, 3.0)], []], [[(0.0, float(a != b)) for b in (0, 1)] for a in (0, 1)]
    )
    for gather, start in ((None, 5.0), ([[0.0, 0.0], [0.0, 1.0]], 2.0)):
        board = Board(dag, BlindLines(work, [[0.0], [0.0]], 0.0), [0.0, 0.0], gather)
        board.fill(heft(dag), {0, 1})
        assert (board.start_s[1], board.finish_s[1]) == (start, 9.0 if gather is None else 10.0)


def test_slots_are_lines_of_their_own() -> None:
    """Two slots on one device: two roots at once; a third goes into the gap before the join."""
    work = [[2.0], [6.0], [1.0], [3.0]]
    dag = make_dag(work, [[Edge(2, 0.0)], [Edge(2, 0.0)], [], []], [[(0.0, 0.0)]])
    board = Board(dag, BlindLines(work, [[0.0, 0.0]], 0.0), [0.0] * 4, [[0.0]] * 4)
    board.fill(heft(dag), {0, 1, 2, 3})
    # Ranks 3, 7, 1, 3: 1 on slot 0 to 6; 0 on slot 1 to 2; 3 on slot 1 to 5; 2 at 6.
    assert board.start_s == [0.0, 0.0, 6.0, 2.0]
