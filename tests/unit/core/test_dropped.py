"""What is given up: items, whole instances, items and rounds of groups, workflows."""

import pytest
from msgspec.structs import replace
from tests.by_hand import ByHand, first
from tests.graphs import cluster, group, llm

from fate.domain.graph import Chunk, Graph, OnError, Stage
from fate.domain.messages import (
    Call,
    Cancel,
    Cancelled,
    DeviceLost,
    Done,
    Dropped,
    Expand,
    ExpandFailed,
    Failed,
    ItemDone,
    WorkflowEnded,
)


def tool(name: str, *parents: str, on_error: OnError = "fail", mapped: int = 0) -> Stage:
    """A tool, over several items where `mapped` says how many."""
    return Stage(
        id=name,
        kind="tool",
        parents=parents,
        tool_s=0.01,
        on_error=on_error,
        mapped=mapped > 0,
        items=mapped or 1,
    )


def hand_of(*stages: Stage) -> ByHand:
    """Submit a workflow `w`, with tools that have one attempt, and render all that is asked for."""
    hand = ByHand(cluster(tool_slots=32), max_attempts=1)
    hand.submit(Graph(id="w", stages=stages))
    while hand.all(Expand):
        hand.expand()
    return hand


def status(hand: ByHand, name: str) -> str:
    """Return an instance's status."""
    return hand.core.lifecycle.instances[f"w/{name}"].status


def failing(hand: ByHand, name: str) -> None:
    """Let the tool of an instance fail."""
    chains = [c for c in hand.core.fleet.chains if c.chunk is not None]
    (activity,) = [c.activity for c in chains if c.chunk and c.chunk.instance == f"w/{name}"]
    hand.send(Failed(activity=activity or 0, reason="broken"))


def dropped(hand: ByHand) -> list[tuple[str, int]]:
    """Return what the last answer gave up."""
    return [(command.instance, command.item) for command in hand.all(Dropped)]


@pytest.mark.parametrize(("how", "then"), [("skip", "skipped"), ("default", "done")])
def test_the_only_item_of_a_stage(how: OnError, then: str) -> None:
    """With a default the stage is done, without one what depends on it alone is skipped."""
    hand = hand_of(tool("a", on_error=how), tool("b", "a"), tool("c"))
    failing(hand, "a")
    assert dropped(hand) == [("w/a", 0)]
    assert hand.one(Dropped).reason == "w/a: tool failed (attempt 1 of 1): broken"
    assert status(hand, "a") == then
    assert bool(hand.all(Expand)) == (how == "default")
    hand.finish_tool("w/c")
    if how == "default":
        hand.expand()
        hand.finish_tool("w/b")
    assert hand.one(WorkflowEnded).status == "ok"


@pytest.mark.parametrize("how", ["skip", "default"])
def test_one_item_of_a_map(how: OnError) -> None:
    """The rest goes on, the attempt's other items run again."""
    notes = replace(llm("w", "notes", "A"), mapped=True, items=4, on_error=how)
    hand = ByHand(cluster(devices=1), max_attempts=2)
    hand.warm("A")
    hand.submit(Graph(id="w", stages=(notes, tool("end", "notes"))))
    for attempt in (1, 2):
        hand.plan(hand.snapshot.chunks)
        call = hand.one(Call)
        if attempt == 1:
            done = ItemDone(activity=call.activity, item=0, output_tokens=9)
            hand.send(done, Failed(activity=call.activity, reason="broken"))
            hand.none(Dropped)
        else:
            hand.send(Failed(activity=call.activity, reason="broken"))
    assert dropped(hand) == [("w/notes", 1)]
    left = sum(len(range(r.chunk.start, r.chunk.stop)) for r in hand.core.lifecycle.pool)
    assert left == 2
    while status(hand, "notes") != "done":
        hand.plan(hand.snapshot.chunks)
        hand.finished(hand.one(Call))
    assert [c.instance for c in hand.all(Expand)] == ["w/end"]


def test_all_items_of_a_map() -> None:
    """Nothing is left of it: it counts as skipped."""
    hand = hand_of(tool("a", on_error="skip", mapped=2), tool("b", "a"))
    while status(hand, "a") == "open":
        chain = hand.core.fleet.chains[0]
        hand.send(Failed(activity=chain.activity or 0, reason="broken"))
    assert status(hand, "a") == status(hand, "b") == "skipped"
    assert hand.one(WorkflowEnded).status == "ok"


@pytest.mark.parametrize("how", ["skip", "default"])
def test_what_cannot_be_rendered(how: OnError) -> None:
    """A stage, a map and a group are given up as a whole; only a stage can have a default."""
    stages = (
        tool("a", on_error=how),
        tool("b", on_error=how, mapped=3),
        replace(group("c", tool("x"), items=2), on_error=how),
    )
    hand = ByHand()
    hand.send_graph(Graph(id="w", stages=stages))
    hand.send(*[ExpandFailed(instance=f"w/{name}", reason="no") for name in "abc"])
    assert dropped(hand) == [("w/a", 0), ("w/b", -1), ("w/c", -1)]
    assert status(hand, "a") == ("done" if how == "default" else "skipped")
    assert status(hand, "b") == status(hand, "c") == "skipped"
    assert hand.one(WorkflowEnded).status == "ok"


@pytest.mark.parametrize("level", range(4))
def test_the_closest_policy_counts(level: int) -> None:
    """An item, its inner scope, its outer scope, or nothing but the workflow."""

    def at(here: int) -> OnError:
        return "skip" if here == level else "fail"

    inner = group("h", tool("x", on_error=at(0)), tool("y"), items=2, on_error=at(1))
    hand = hand_of(group("g", inner, tool("z"), items=2, on_error=at(2)), tool("end", "g"))
    failing(hand, "g[0].h[1].x")
    gone = [[("w/g[0].h[1].x", 0)], [("w/g[0].h", 1)], [("w/g", 0)], []][level]
    assert dropped(hand) == gone
    stopped = {
        c.chunk.instance for c in hand.core.fleet.chains if c.chunk is not None and c.cancelling
    }
    scope = {"w/g[0].h[0].x", "w/g[0].h[0].y", "w/g[0].h[1].y", "w/g[0].z"}
    other = {name.replace("g[0]", "g[1]") for name in scope} | {"w/g[1].h[1].x"}
    assert stopped == [set[str](), {"w/g[0].h[1].y"}, scope, scope | other][level]
    assert bool(hand.all(WorkflowEnded)) == (level == 3)
    if level < 3:
        hand.send(*[Cancelled(activity=c.activity) for c in hand.all(Cancel)])
        while hand.core.fleet.chains:
            chunk = hand.core.fleet.chains[0].chunk
            assert chunk is not None
            hand.finish_tool(chunk.instance)
            while hand.all(Expand):
                hand.expand()
        assert status(hand, "g") == status(hand, "end") == "done"
        assert hand.core.lifecycle.workflows["w"].status == "ok"


def test_its_own_policy_comes_before_the_group_s() -> None:
    """The scope goes on without the stage."""
    body = (tool("x", on_error="skip"), tool("y"), tool("z", "x", "y"))
    hand = hand_of(group("g", *body, items=1, on_error="skip"))
    failing(hand, "g[0].x")
    assert dropped(hand) == [("w/g[0].x", 0)]
    hand.finish_tool("w/g[0].y")
    assert [c.instance for c in hand.all(Expand)] == ["w/g[0].z"]


def test_a_round_that_is_given_up() -> None:
    """The loop is asked what comes next."""
    hand = hand_of(group("l", tool("x"), rounds=3, on_error="default"))
    failing(hand, "l#1.x")
    assert dropped(hand) == [("w/l", 1)]
    assert [c.instance for c in hand.all(Expand)] == ["w/l"]


def test_a_group_that_cannot_be_revealed_drops_the_scope_around_it() -> None:
    """Where the outer group allows it."""
    hand = ByHand()
    inner = group("h", tool("x"))
    hand.send_graph(Graph(id="w", stages=(group("g", inner, items=2, on_error="skip"),)))
    hand.expand()
    hand.send(ExpandFailed(instance="w/g[1].h", reason="no list"), hand.expansion("w/g[0].h"))
    assert dropped(hand) == [("w/g", 1)]
    hand.expand()
    hand.finish_tool("w/g[0].h[0].x")
    assert hand.one(WorkflowEnded).status == "ok"


def test_a_failure_that_comes_after_its_scope_was_dropped() -> None:
    """Nothing is dropped twice."""
    hand = hand_of(group("g", tool("x"), tool("y"), items=1, on_error="skip"))
    activity = {c.chunk.instance: c.activity for c in hand.core.fleet.chains if c.chunk}
    failing(hand, "g[0].x")
    assert hand.one(WorkflowEnded).status == "ok"
    hand.send(Failed(activity=activity["w/g[0].y"] or 0, reason="broken", retryable=False))
    hand.none(Dropped, WorkflowEnded)
    assert hand.core.finished


def test_both_fail_in_one_batch() -> None:
    """The scope is dropped once."""
    hand = hand_of(group("g", tool("x"), tool("y"), items=2, on_error="skip"))
    chains = [c for c in hand.core.fleet.chains if c.chunk and "[0]" in c.chunk.instance]
    hand.send(*[Failed(activity=c.activity or 0, reason="broken") for c in chains])
    assert dropped(hand) == [("w/g", 0)]


def test_work_that_no_device_can_do_any_more() -> None:
    """It is given up like any other failure, all its items at once."""
    notes = replace(llm("w", "notes", "A"), mapped=True, items=3, on_error="skip")
    hand = ByHand(cluster(devices=1))
    hand.submit(Graph(id="w", stages=(notes, tool("other"))))
    hand.send(DeviceLost(device="d0", reason="gone", final=True))
    assert sorted(dropped(hand)) == [("w/notes", i) for i in range(3)]
    assert "every device that can run 'A' is lost" in hand.all(Dropped)[0].reason
    hand.finish_tool("w/other")
    assert hand.one(WorkflowEnded).status == "ok"


def test_a_call_in_a_dropped_scope_is_cancelled_on_its_device() -> None:
    """The siblings' calls stop, the next item's goes on."""
    body = (llm("w", "a", "A"), llm("w", "b", "A"))
    hand = ByHand(cluster(devices=2), max_attempts=1)
    hand.warm("A", 0)
    hand.warm("A", 1)
    hand.submit(Graph(id="w", stages=(group("g", *body, items=2, on_error="skip"),)))
    hand.expand()
    hand.plan((Chunk("w/g[0].a", 0, 1),), (Chunk("w/g[0].b", 0, 1),))
    bad, doomed = hand.all(Call)
    hand.send(Failed(activity=bad.activity, reason="broken"))
    assert hand.one(Cancel).activity == doomed.activity
    assert {r.chunk.instance for r in hand.core.lifecycle.pool} == {"w/g[1].a", "w/g[1].b"}
    hand.send(Done(activity=doomed.activity))
    assert first("w", "g[0].b") not in [r.chunk for r in hand.core.lifecycle.pool]
