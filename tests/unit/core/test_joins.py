"""Joins: a stage starts with some of its parents, and those that nobody needs are abandoned."""

from msgspec.structs import replace
from tests.by_hand import ByHand, first
from tests.graphs import cluster, group, llm

from fate.domain.graph import Graph, Stage
from fate.domain.messages import (
    Call,
    Cancel,
    Cancelled,
    Done,
    Expand,
    Expanded,
    ItemDone,
    Load,
    Skipped,
    WorkflowEnded,
)


def tool(name: str, *parents: str, join: int = 0, kept: bool = False) -> Stage:
    """A tool."""
    return Stage(id=name, kind="tool", parents=parents, tool_s=0.01, join=join, kept=kept)


def hand_of(*stages: Stage, tool_slots: int = 8) -> ByHand:
    """Submit a workflow `w` and render its roots."""
    hand = ByHand(cluster(tool_slots=tool_slots))
    hand.submit(Graph(id="w", stages=stages))
    return hand


def status(hand: ByHand, name: str) -> str:
    """Return an instance's status."""
    return hand.core.lifecycle.instances[f"w/{name}"].status


def test_any_starts_with_the_first_and_cancels_the_rest() -> None:
    """One loser runs, one waits for a slot, one is asked for: none of them goes on."""
    hand = ByHand(cluster(tool_slots=2))
    names = "abcd"
    stages = [*[tool(name) for name in names], tool("end", *names, join=1)]
    hand.send_graph(Graph(id="w", stages=tuple(stages)))
    hand.send(*[hand.expansion(f"w/{name}") for name in "abc"])
    hand.finish_tool("w/a")
    assert [c.instance for c in hand.all(Expand)] == ["w/end"]
    assert len(hand.all(Cancel)) == 1
    assert [status(hand, n) for n in names] == ["done", "skipped", "skipped", "skipped"]
    assert not hand.core.lifecycle.tools
    activity = hand.one(Cancel).activity
    hand.send(Cancelled(activity=activity), Expanded(instance="w/d"), hand.expansion("w/end"))
    hand.finish_tool("w/end")
    assert hand.one(WorkflowEnded).status == "ok"
    assert hand.core.finished


def test_a_loser_on_a_device_is_cancelled() -> None:
    """Its slot is free for others; the workflow may even end before it has stopped."""
    a, b = llm("w", "a", "A"), llm("w", "b", "A")
    hand = ByHand(cluster(devices=2))
    hand.warm("A", 0)
    hand.warm("A", 1)
    hand.submit(Graph(id="w", stages=(a, b, tool("end", "a", "b", join=1))))
    hand.plan((first("w", "a"),), (first("w", "b"),))
    winner, loser = hand.all(Call)
    hand.finished(winner)
    assert hand.one(Cancel).activity == loser.activity
    hand.expand()
    hand.finish_tool("w/end")
    assert hand.one(WorkflowEnded).status == "ok"
    assert not hand.core.finished
    hand.send(Cancelled(activity=loser.activity))
    assert hand.core.finished


def test_a_loser_that_is_done_before_it_is_stopped() -> None:
    """Its outcome comes instead of the cancellation, in the same batch or later."""
    for late in (False, True):
        a, b = llm("w", "a", "A"), llm("w", "b", "A")
        hand = ByHand(cluster(devices=2))
        hand.warm("A", 0)
        hand.warm("A", 1)
        hand.submit(Graph(id="w", stages=(a, b, tool("end", "a", "b", join=1))))
        hand.plan((first("w", "a"),), (first("w", "b"),))
        won, lost = (
            [ItemDone(activity=c.activity, item=0, output_tokens=9), Done(activity=c.activity)]
            for c in hand.all(Call)
        )
        if late:
            hand.send(*won)
            hand.one(Cancel)
            hand.send(*lost, *[hand.expansion("w/end")])
        else:
            hand.send(*won, *lost)
            hand.none(Cancel)
            hand.expand()
        assert status(hand, "b") == "skipped"
        hand.finish_tool("w/end")
        assert hand.one(WorkflowEnded).status == "ok"
        assert hand.core.finished


def test_a_loser_whose_model_is_still_loading() -> None:
    """The load goes on, the call behind it never starts."""
    stages = (llm("w", "a", "A"), llm("w", "b", "B"), tool("end", "a", "b", join=1))
    hand = ByHand(cluster(devices=2))
    hand.warm("A", 0)
    hand.submit(Graph(id="w", stages=stages))
    hand.plan((first("w", "a"),), (first("w", "b"),))
    load = hand.one(Load)
    hand.finished(hand.one(Call))
    hand.none(Cancel)
    hand.expand()
    hand.loaded(load)
    hand.none(Call)
    assert "B" in hand.core.fleet.devices[1].models
    hand.finish_tool("w/end")
    assert hand.core.finished


def test_a_loser_that_is_kept_goes_on() -> None:
    """The workflow itself wants its output."""
    hand = hand_of(tool("a"), tool("b", kept=True), tool("end", "a", "b", join=1))
    hand.finish_tool("w/a")
    hand.none(Cancel)
    hand.expand()
    hand.finish_tool("w/end")
    hand.none(WorkflowEnded)
    hand.finish_tool("w/b")
    hand.one(WorkflowEnded)


def test_a_loser_that_somebody_else_needs_goes_on() -> None:
    """Until that one has started too, or has ended itself."""
    stages = (
        tool("a"),
        tool("b"),
        tool("c"),
        tool("one", "a", "b", join=1),
        tool("two", "b", "c"),
        tool("three", "a", "two", join=1),
    )
    hand = hand_of(*stages)
    hand.finish_tool("w/a")
    # two is not needed by three any more, hence neither are b and c
    assert [status(hand, n) for n in ("b", "c", "two")] == ["skipped"] * 3
    assert len(hand.all(Cancel)) == 2
    stages = (*stages[:4], tool("two", "b", "c", kept=True))
    hand = hand_of(*stages)
    hand.finish_tool("w/a")
    hand.none(Cancel)
    assert [status(hand, n) for n in ("b", "c", "two")] == ["open", "open", "waiting"]


def test_two_of_three() -> None:
    """The stage starts with the second; skipped parents do not count."""
    hand = ByHand()
    stages = (*[tool(n) for n in "abcd"], tool("end", *"abcd", join=2))
    hand.send_graph(Graph(id="w", stages=stages))
    hand.send(Skipped(instance="w/a"), *[hand.expansion(f"w/{n}") for n in "bcd"])
    hand.finish_tool("w/b")
    hand.none(Expand)
    hand.finish_tool("w/c")
    assert [c.instance for c in hand.all(Expand)] == ["w/end"]
    assert status(hand, "d") == "skipped"


def test_fewer_than_wanted() -> None:
    """All parents have ended: the stage goes on with what is there, and is skipped with nothing."""
    for done in (1, 0):
        hand = ByHand()
        stages = (tool("a"), tool("b"), tool("end", "a", "b", join=2))
        hand.send_graph(Graph(id="w", stages=stages))
        hand.send(Skipped(instance="w/a"))
        if done:
            hand.send(hand.expansion("w/b"))
            hand.finish_tool("w/b")
            assert [c.instance for c in hand.all(Expand)] == ["w/end"]
        else:
            hand.send(Skipped(instance="w/b"))
            assert status(hand, "end") == "skipped"
            assert hand.one(WorkflowEnded).status == "ok"


def test_a_group_that_is_no_longer_needed() -> None:
    """All its scopes stop, to any depth; nothing of it is revealed any more."""
    inner = group("h", tool("x"), items=2)
    study = group("g", inner, tool("y"), items=2)
    hand = hand_of(tool("a"), study, group("l", tool("z"), rounds=5), tool("end", *"agl", join=1))
    while hand.all(Expand):
        hand.expand()
    at_work = [c for c in hand.core.fleet.chains if c.chunk is not None]
    assert len(at_work) == 1 + 4 + 2 + 1
    hand.finish_tool("w/a")
    assert len(hand.all(Cancel)) == 7
    assert status(hand, "g") == status(hand, "g[1].h") == status(hand, "l") == "skipped"
    hand.send(*[Cancelled(activity=c.activity) for c in hand.all(Cancel)], hand.expansion("w/end"))
    hand.finish_tool("w/end")
    assert hand.one(WorkflowEnded).status == "ok"
    assert hand.core.finished


def test_a_join_inside_of_a_scope() -> None:
    """Losers of one item are stopped, the other item's go on."""
    body = (tool("a"), tool("b"), tool("end", "a", "b", join=1))
    hand = hand_of(group("g", *body, items=2))
    hand.expand()
    hand.finish_tool("w/g[1].b")
    assert status(hand, "g[1].a") == "skipped"
    assert status(hand, "g[0].a") == "open"


def test_waiting_items_of_a_map_leave_the_pool() -> None:
    """Chunks that are ready are dropped, those that run are cancelled."""
    notes = replace(llm("w", "notes", "A"), mapped=True, items=6)
    hand = ByHand(cluster(devices=2), chunk_s=0.0)
    hand.warm("A", 0)
    hand.submit(Graph(id="w", stages=(tool("a"), notes, tool("end", "a", "notes", join=1))))
    chunks = hand.snapshot.chunks
    assert len(chunks) == 6
    hand.plan((chunks[2],))
    hand.one(Call)
    hand.finish_tool("w/a")
    hand.one(Cancel)
    assert not len(hand.core.lifecycle.pool)
