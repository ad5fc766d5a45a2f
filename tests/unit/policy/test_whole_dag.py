"""Whole-graph schedules on random graphs: legal, stable, and blind where there is no state."""

from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.strategies import Box, Kind, Node, make_snapshot, snapshots

from fate.domain.graph import Chunk
from fate.domain.plan import Memo
from fate.domain.snapshot import Snapshot
from fate.policy.baselines.classical import cpop, heft, heft_state, peft, peft_state
from fate.policy.board import Board
from fate.policy.dag import Dag, Rule, parents_of, transfer_seconds
from fate.policy.dag import cpop as cpop_rule
from fate.policy.dag import heft as heft_rule
from fate.policy.dag import peft as peft_rule
from fate.policy.kernel.problem import Weights, plain
from fate.policy.kernel.reference import work_seconds
from fate.policy.lines import BlindLines
from fate.policy.whole_dag import DagPolicy, dag_of, work_table


@st.composite
def free_of_state(draw: st.DrawFn) -> Snapshot:
    """Draw graphs on devices with one slot on which nothing is loaded, evicted or cached."""
    total = draw(st.integers(1, 9))
    ready = draw(st.integers(1, total))
    nodes = [
        Node(
            model=draw(st.integers(0, 1)),
            tokens=float(draw(st.integers(1, 300))),
            output=float(draw(st.integers(0, 60))),
            output_bytes=float(draw(st.sampled_from([0, 1, 5]))),
            after_s=draw(st.sampled_from([0.0, 0.0, 1.5])),
            children=tuple(
                child
                for child in range(max(index + 1, ready), total)
                if draw(st.integers(0, 2)) == 0
            ),
        )
        for index in range(total)
    ]
    boxes = [
        Box(
            free_in=(float(draw(st.sampled_from([0, 0, 3]))),),
            speed=float(draw(st.sampled_from([1, 2]))),
            resident={0: (), 1: ()},
            memory=1000,
            sequences=0,
        )
        for _ in range(draw(st.integers(1, 3)))
    ]
    # Binary fractions: sums are exact in any order, so that ties stay ties.
    kinds = [Kind(load_s=0.0, prefill_s=1 / 128, decode_s=step) for step in (1 / 8, 1 / 32)]
    return make_snapshot(nodes[:ready], boxes, kinds, nodes[ready:], link_s=1.0)


@pytest.mark.parametrize(("blind", "state"), [(heft, heft_state), (peft, peft_state)])
@given(snapshot=free_of_state())
def test_without_state_costs_seeing_the_state_changes_nothing(
    blind: Callable[[], DagPolicy], state: Callable[[], DagPolicy], snapshot: Snapshot
) -> None:
    """Zero loads, everything loaded, no caches: the same bindings in the same order."""
    one, other = blind().plan(snapshot, None), state().plan(snapshot, None)
    assert one.memo == other.memo
    assert one.orders == other.orders


@pytest.mark.parametrize("rule", [heft_rule, cpop_rule, peft_rule])
@given(snapshot=snapshots(), half=st.integers(0, 7))
def test_schedules_are_legal(rule: Rule, snapshot: Snapshot, half: int) -> None:
    """Also around tasks that were bound before, on devices with several slots."""
    work_s = work_table(snapshot).tolist()
    dag = dag_of(snapshot, work_s)
    preference = rule(dag)
    bound: list[list[int]] = [[] for _ in range(snapshot.devices)]
    for task in dag.order[:half]:
        hosts = [d for d in range(snapshot.devices) if snapshot.eligible[task, d]]
        if hosts:
            bound[hosts[task % len(hosts)]].append(task)
    lines = BlindLines(work_s, snapshot.free_at_s.tolist(), snapshot.now_s)
    released_s, gather_s = snapshot.released_at_s.tolist(), snapshot.transfer_s.tolist()
    board = Board(dag, lines, released_s, gather_s)
    board.stand(bound)
    board.fill(preference, {task for task, device in enumerate(board.device) if device < 0})
    for task, device in enumerate(board.device):
        assert (device >= 0) == bool(snapshot.eligible[task].any())
    for device, order in enumerate(bound):
        assert all(board.device[task] == device for task in order), "what is bound stays"
    _precedes(dag, board, snapshot)
    _fits(board, snapshot)


def _precedes(dag: Dag, board: Board, snapshot: Snapshot) -> None:
    """Each task after its parents and their tools, for its work and all its gathering."""
    for task, edges in enumerate(parents_of(dag)):
        device = board.device[task]
        if device < 0:
            continue
        gather_s = float(snapshot.transfer_s[task, device])
        assert board.start_s[task] >= max(snapshot.now_s, snapshot.released_at_s[task])
        for edge in edges:
            if board.device[edge.task] >= 0:
                assert board.start_s[task] >= board.finish_s[edge.task] + edge.after_s
                gather_s += transfer_seconds(dag, edge.units, board.device[edge.task], device)
        length_s = board.finish_s[task] - board.start_s[task]
        assert length_s == pytest.approx(gather_s + dag.work_s[task][device])


def _fits(board: Board, snapshot: Snapshot) -> None:
    """At any time no more tasks on a device than it has slots, those that run now included."""
    for device, order in enumerate(board.orders()):
        free_at_s = snapshot.free_at_s[device].tolist()
        slots = sum(at_s < float("inf") for at_s in free_at_s)
        for at in order:
            moment_s = board.start_s[at]
            running = sum(moment_s < at_s < float("inf") for at_s in free_at_s)
            running += sum(board.start_s[t] <= moment_s < board.finish_s[t] for t in order)
            assert running <= slots
    for order in board.orders():
        assert all(board.start_s[a] <= board.start_s[b] for a, b in pairwise(order))


@given(snapshot=snapshots())
def test_the_table_of_work_is_that_of_the_kernel(snapshot: Snapshot) -> None:
    """The same seconds for every node, of maps too, and inf where it may not run."""
    p, table = plain(snapshot, Weights(depth=0)), work_table(snapshot)
    for node, row in enumerate(table.tolist()):
        for device, seconds in enumerate(row):
            if snapshot.eligible[node, device]:
                assert seconds == pytest.approx(work_seconds(p, node, device, 0.0))
            else:
                assert seconds == float("inf")


def test_a_graph_with_a_thousand_stages_is_bound_at_once() -> None:
    """What waits is named in the memo without items, and found again when it is ready."""
    nodes = [Node(children=(i + 1,) if i < 999 else (), after_s=0.0) for i in range(1000)]
    box = Box(free_in=(0.0,))
    snapshot = make_snapshot(nodes[:1], [box, box], [Kind()], nodes[1:])
    memo = heft().plan(snapshot, None).memo
    assert memo is not None and [len(order) for order in memo.orders] == [1000, 0]
    assert memo.orders[0][:2] == (snapshot.chunks[0], Chunk("w0/s1001", 0, 0))
    # The first is done; the second is bound to device 0, which is busy.
    rest = [Node(instance=1000 + i, children=(i,) if i < 999 else ()) for i in range(1, 1000)]
    later = make_snapshot(rest[:1], [Box(free_in=(9.0,)), box], [Kind()], rest[1:])
    plan = heft().plan(later, memo)
    assert [len(order) for order in plan.orders] == [1, 0]


def test_a_memo_that_names_a_chunk_twice_binds_it_once() -> None:
    """A memo is advice from outside: whatever it says, plans are legal."""
    snapshot = make_snapshot([Node()], [Box(), Box()], [Kind()])
    memo = Memo(orders=(snapshot.chunks * 2, snapshot.chunks))
    assert cpop().plan(snapshot, memo).orders == (snapshot.chunks, ())
