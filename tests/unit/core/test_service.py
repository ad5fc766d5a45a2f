"""What work has been given so far, as snapshots tell it: service, places, ages, pauses."""

import pytest
from tests.by_hand import ByHand, first
from tests.graphs import chain, cluster, group, llm

from fate.domain.graph import Graph, Stage
from fate.domain.messages import Call, Command, Done, ItemDone, Load


def run(hand: ByHand, device: int, stage: str, seconds: float = 1.0) -> None:
    """Run a ready call of workflow `w` on a device; its engine reports so many seconds."""
    orders = [(first("w", stage),) if d == device else () for d in range(2)]
    hand.plan(*orders)
    if hand.all(Load):
        hand.loaded(hand.one(Load))
    finish(hand, hand.one(Call), seconds)


def finish(hand: ByHand, call: Command, seconds: float) -> None:
    """End a call, and render what becomes ready."""
    assert isinstance(call, Call)
    item = ItemDone(
        activity=call.activity, item=0, output_tokens=32, prefill_s=seconds / 4, decode_s=seconds
    )
    hand.send(item, Done(activity=call.activity))
    hand.expand()


def test_a_workflow_that_has_begun() -> None:
    """Two roots on two devices, a tool, a join: sums, longest path, places, pause."""
    roots = [llm("w", "a", "A"), llm("w", "b", "A")]
    tool = Stage(id="t", kind="tool", tool_s=1.0, parents=("b",))
    last = llm("w", "c", "A", ["a", "t"])
    hand = ByHand(cluster())
    hand.submit(Graph(id="w", stages=(*roots, tool, last)))
    arrived_s = hand.now_s - 1.0
    begin = hand.snapshot
    assert begin.attained_s.tolist() == begin.path_s.tolist() == begin.gap_s.tolist() == [0.0, 0.0]
    assert begin.home.tolist() == [-1, -1]
    assert begin.parents_on.tolist() == [[0, 0], [0, 0]]
    hand.plan((first("w", "a"),), (first("w", "b"),))
    loads = hand.all(Load)
    hand.send(*[Done(activity=load.activity, seconds=0.4) for load in loads])
    on_a, on_b = hand.all(Call)
    finish(hand, on_a, 4.0)
    finish(hand, on_b, 8.0)
    ended_s = hand.now_s - 1.0
    hand.finish_tool("w/t")
    hand.expand()
    join = hand.snapshot
    assert join.chunks == (first("w", "c"),)
    assert join.attained_s.tolist() == [15.0], "both roots: 5 s and 10 s"
    assert join.path_s.tolist() == [10.0], "the longer of them; tools are no service"
    assert join.home.tolist() == [1]
    assert join.parents_on.tolist() == [[1, 1]]
    assert join.gap_s.tolist() == [hand.now_s - ended_s], "the tool, and rendering"
    assert join.age_s.tolist() == [hand.now_s - arrived_s]


def test_paths_add_up_along_a_chain() -> None:
    """Three calls of 1.25, 2.5 and 5 s: each sees what came before it."""
    hand = ByHand(cluster())
    hand.submit(chain("w", "AAA"))
    run(hand, 0, "s0", seconds=1.0)
    run(hand, 1, "s1", seconds=2.0)
    assert hand.snapshot.path_s.tolist() == [3.75]
    assert hand.snapshot.parents_on.tolist() == [[0, 1]], "the closest call only"


def test_rounds_of_a_loop_follow_each_other() -> None:
    """A stage of the second round has no parents of its own: the first round came before it."""
    hand = ByHand(cluster())
    loop = group("g", llm("w", "x", "A"), rounds=2.0, parents=["a"])
    hand.submit(Graph(id="w", stages=(llm("w", "a", "A"), loop)))
    run(hand, 0, "a", seconds=4.0)
    hand.expand()
    assert hand.snapshot.path_s.tolist() == [5.0], "seen through the group"
    run(hand, 1, "g#1.x", seconds=4.0)
    hand.expand()
    assert hand.snapshot.path_s.tolist() == [pytest.approx(10.0)]
    assert hand.snapshot.parents_on.tolist() == [[0, 1]]
