"""Stages, items and tools: what becomes ready when, and when a workflow is over."""

import pytest
from msgspec import structs
from tests.by_hand import ByHand, first
from tests.graphs import chain, cluster, llm, map_reduce

from fate.domain.graph import Graph, Stage
from fate.domain.messages import (
    Call,
    Done,
    Expand,
    Failed,
    ItemDone,
    Load,
    RequestPlan,
    RunTool,
    WorkflowEnded,
)


def tool(name: str, *parents: str, items: int = 1) -> Stage:
    """A tool, a map of them with more than one item."""
    return Stage(id=name, kind="tool", parents=parents, tool_s=0.01, mapped=items != 1, items=items)


def test_an_empty_graph_ends_at_once() -> None:
    """There is nothing to do, and nothing is planned."""
    hand = ByHand()
    hand.send()
    hand.submit(Graph(id="w", stages=()))
    assert hand.core.finished
    assert hand.core.lifecycle.workflows["w"].status == "ok"


def test_a_stage_is_rendered_when_its_last_parent_is_done() -> None:
    """A join waits for both of its parents."""
    hand = ByHand()
    stages = (tool("a"), tool("b"), tool("join", "a", "b"))
    hand.submit(Graph(id="w", stages=stages))
    one, two = hand.all(RunTool)
    hand.finished(two)
    hand.none(Expand)
    hand.finished(one)
    assert hand.one(Expand).instance == "w/join"
    hand.expand()
    hand.finished(hand.one(RunTool))
    assert hand.one(WorkflowEnded).status == "ok"


def test_tools_need_no_plan() -> None:
    """They start at once, as many as the host has slots, in order."""
    hand = ByHand(cluster(tool_slots=2))
    hand.submit(*[Graph(id=name, stages=(tool("t"),)) for name in "abc"])
    hand.none(RequestPlan)
    tools = hand.all(RunTool)
    assert [t.chunk for t in tools] == [first("a", "t"), first("b", "t")]
    hand.finished(tools[1])
    assert hand.one(RunTool).chunk == first("c", "t")


def test_tools_run_beside_calls() -> None:
    """The host's slots are not the devices'."""
    hand = ByHand(cluster(devices=1))
    hand.submit(chain("w", "A"))
    hand.plan((first("w"),))
    hand.loaded(hand.one(Load))
    hand.submit(Graph(id="v", stages=(tool("t"),)))
    assert hand.one(RunTool).chunk == first("v", "t")


def test_a_failed_tool_runs_again_in_its_missing_items() -> None:
    """Maps of tools keep what is done, as calls do."""
    hand = ByHand(chunk_s=0.0, max_attempts=2)
    hand.submit(Graph(id="w", stages=(tool("t", items=4),)))
    run = hand.one(RunTool)
    assert run.chunk == first("w", "t", stop=4)
    hand.send(ItemDone(activity=run.activity, item=0))
    hand.send(Failed(activity=run.activity, reason="exit code 1"))
    again = hand.one(RunTool)
    assert again.chunk == first("w", "t", start=1, stop=4)
    hand.send(Failed(activity=again.activity, reason="exit code 1"))
    assert hand.one(WorkflowEnded).reason == ("w/t[1:4]: tool failed (attempt 2 of 2): exit code 1")


def test_a_map_over_nothing_is_done() -> None:
    """Its children are rendered in the same step."""
    hand = ByHand()
    hand.submit(map_reduce("w", items=0))
    hand.finished(hand.one(RunTool))
    assert hand.one(Expand).instance == "w/notes"
    hand.expand()
    assert [e.instance for e in hand.all(Expand)] == ["w/critic0", "w/critic1"]
    hand.none(RequestPlan)


def test_children_of_a_map_wait_for_its_last_item() -> None:
    """Two chunks on two devices; the critics come after the second."""
    hand = ByHand()
    hand.submit(map_reduce("w", items=4))
    hand.finished(hand.one(RunTool))
    hand.expand()
    halves = hand.snapshot.chunks
    assert halves == (first("w", "notes", 0, 2), first("w", "notes", 2, 4))
    hand.plan((halves[0],), (halves[1],))
    loads = hand.all(Load)
    hand.loaded(loads[0])
    hand.finished(hand.one(Call))
    hand.none(Expand)
    hand.loaded(loads[1])
    hand.finished(hand.one(Call))
    assert [e.instance for e in hand.all(Expand)] == ["w/critic0", "w/critic1"]


@pytest.mark.parametrize(
    ("chunk_s", "sizes"),
    [(0.0, {1}), (60.0, {5}), (0.5, {2})],
    ids=["every item on its own", "as many as there are shards", "about so many seconds"],
)
def test_chunks_hold_about_so_much_work(chunk_s: float, sizes: set[int]) -> None:
    """An item of A takes 0.002 + 310 / 2500 + 32 / 460 = 0.196 s; two devices share ten of them."""
    hand = ByHand(chunk_s=chunk_s)
    stage = structs.replace(llm("w", "s0", "A"), mapped=True, items=10)
    hand.submit(Graph(id="w", stages=(stage,)))
    assert {chunk.stop - chunk.start for chunk in hand.snapshot.chunks} == sizes
    assert sum(chunk.stop - chunk.start for chunk in hand.snapshot.chunks) == 10


def test_a_map_of_ten_thousand_items_stays_within_the_frontier() -> None:
    """The policy sees a bounded part of it; all of it is ready."""
    hand = ByHand(chunk_s=0.0)
    hand.submit(map_reduce("w", items=10_000))
    hand.finished(hand.one(RunTool))
    hand.expand()
    assert hand.snapshot.frontier == 32
    assert hand.snapshot.ready_total == 10_000
    assert hand.snapshot.prompt.shape[0] == 32 + 3


def test_lengths_seen_correct_what_is_expected_of_the_next_ones() -> None:
    """The declared length counts as two observations, of every workflow of the same name."""
    hand = ByHand(cluster(devices=1))
    hand.submit(chain("w-0", "A"), chain("w-1", "A"))
    hand.plan((first("w-0"),))
    hand.loaded(hand.one(Load))
    call = hand.one(Call)
    hand.send(
        ItemDone(activity=call.activity, item=0, output_tokens=62), Done(activity=call.activity)
    )
    instance = hand.core.lifecycle.instances["w-1/s0"]
    assert hand.core.lifecycle.expect.tokens(instance) == (2 * 32 + 62) / 3
    hand.plan((first("w-1"),))
    hand.finished(hand.one(Call))
    hand.submit(chain("w-2", "A"), chain("other", "A"))
    assert hand.snapshot.output_tokens.tolist() == [(2 * 32 + 62 + 32) / 4, 32.0]


def test_workflows_of_one_name_may_differ_in_their_lengths() -> None:
    """An answer half as long as declared halves what others declare, with the prior's weight."""
    hand = ByHand(cluster(devices=1))
    hand.submit(chain("w-0", "A"))
    hand.plan((first("w-0"),))
    hand.loaded(hand.one(Load))
    call = hand.one(Call)
    hand.send(
        ItemDone(activity=call.activity, item=0, output_tokens=16), Done(activity=call.activity)
    )
    long = structs.replace(llm("w-1", "s0", "A"), output_tokens=320.0)
    hand.submit(Graph(id="w-1", stages=(long,)))
    assert hand.snapshot.output_tokens.tolist() == [320 * ((2 + 16 / 32) / 3)]
