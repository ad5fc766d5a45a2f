"""Twins: items that take the answer of an identical call."""

import pytest
from msgspec.structs import replace
from tests.by_hand import ByHand
from tests.graphs import cluster, group

from fate.domain.graph import Graph, OnError, Stage
from fate.domain.messages import (
    Done,
    Dropped,
    Event,
    Expand,
    Expanded,
    Failed,
    ItemDone,
    Reuse,
    RunTool,
    Submitted,
    Twin,
    WorkflowEnded,
)


def tool(name: str, *parents: str, on_error: OnError = "fail", **more: object) -> Stage:
    """A tool; whether calls or tools are twins is all the same to the core."""
    return Stage(id=name, kind="tool", parents=parents, on_error=on_error, **more)  # pyright: ignore[reportArgumentType]


def hand_of(*stages: Stage, chunk_s: float = 5.0) -> ByHand:
    """Submit a workflow `w`."""
    hand = ByHand(cluster(tool_slots=32), max_attempts=1, chunk_s=chunk_s)
    hand.send_graph(Graph(id="w", stages=stages))
    return hand


def twin(name: str, source: str, item: int = 0, items: int = 1) -> Expanded:
    """The expansion of an instance whose first item is a twin of `source`."""
    return Expanded(
        instance=f"w/{name}", tails=((),) * items, twins=(Twin(0, f"w/{source}", item),)
    )


def status(hand: ByHand, name: str) -> str:
    """Return an instance's status."""
    return hand.core.lifecycle.instances[f"w/{name}"].status


def test_an_answer_that_is_there_already() -> None:
    """It is copied at once, before what needs it is rendered."""
    hand = hand_of(tool("a"), tool("b", "a"), tool("c", "b"))
    hand.expand()
    hand.finish_tool("w/a")
    out = hand.send(twin("b", "a"))
    assert out == [
        Reuse(instance="w/b", item=0, source="w/a", source_item=0),
        Expand(instance="w/c"),
    ]


def test_an_answer_that_is_to_come() -> None:
    """Twins wait for the item, not for the end of its activity, in any instance of any workflow."""
    hand = hand_of(tool("a", mapped=True, items=2), tool("b"), tool("c", "b"), chunk_s=0.0)
    hand.send(Submitted(graph=Graph(id="v", stages=(tool("x"),))))
    a = Expanded(instance="w/a", tails=((), ()))
    other = Expanded(instance="v/x", twins=(Twin(0, "w/a", 1),))
    hand.send(a, twin("b", "a", 1), other)
    work = hand.one(RunTool)
    assert work.chunk.instance == "w/a" and len(hand.core.fleet.chains) == 1
    hand.send(ItemDone(activity=work.activity, item=0))
    hand.none(Reuse)
    hand.send(ItemDone(activity=work.activity, item=1))
    kinds = [type(command) for command in hand.out]
    assert kinds == [Reuse, Reuse, Expand, WorkflowEnded]
    hand.send(Done(activity=work.activity))
    assert status(hand, "a") == status(hand, "b") == "done"


def test_twins_within_one_map() -> None:
    """Three items ask the same: one call, three outputs; a twin of a twin gets it too."""
    hand = hand_of(tool("a", mapped=True, items=4), tool("b", "a"))
    twins = (Twin(1, "w/a", 0), Twin(3, "w/a", 1))
    hand.send(Expanded(instance="w/a", tails=((),) * 4, twins=twins))
    chunks = [c.chunk for c in hand.core.fleet.chains]
    assert sorted((c.start, c.stop) for c in chunks if c) == [(0, 1), (2, 3)]
    hand.finished(hand.all(RunTool)[0])
    assert [(r.item, r.source_item) for r in hand.all(Reuse)] == [(1, 0), (3, 1)]
    assert status(hand, "a") == "open"
    activity = hand.core.fleet.chains[0].activity or 0
    hand.send(ItemDone(activity=activity, item=2), Done(activity=activity))
    assert status(hand, "a") == "done"


@pytest.mark.parametrize("how", ["skip", "default"])
def test_a_source_that_is_given_up(how: OnError) -> None:
    """Its twins are calls of their own; a default is no answer."""
    hand = hand_of(tool("a", on_error=how), tool("b"), tool("c"))
    hand.send(hand.expansion("w/a"), twin("b", "a"))
    hand.send(Failed(activity=hand.core.fleet.chains[0].activity or 0, reason="broken"))
    hand.one(Dropped)
    assert hand.one(RunTool).chunk.instance == "w/b"
    hand.finish_tool("w/b")
    late = hand.send(twin("c", "a"))
    assert [type(command) for command in late] == [RunTool]


def test_a_source_whose_attempt_fails() -> None:
    """Its twins wait for the next attempt."""
    hand = ByHand(cluster(tool_slots=32), max_attempts=2)
    hand.send_graph(Graph(id="w", stages=(tool("a"), tool("b"))))
    hand.send(hand.expansion("w/a"), twin("b", "a"))
    hand.send(Failed(activity=hand.core.fleet.chains[0].activity or 0, reason="broken"))
    assert hand.one(RunTool).chunk.instance == "w/a"
    hand.finish_tool("w/a")
    hand.one(Reuse)


def test_a_source_whose_workflow_ends() -> None:
    """Failed or cancelled: twins in other workflows run themselves."""
    hand = hand_of(tool("a"))
    hand.send(Submitted(graph=Graph(id="v", stages=(tool("x"),))))
    hand.send(hand.expansion("w/a"), Expanded(instance="v/x", twins=(Twin(0, "w/a", 0),)))
    hand.send(Failed(activity=hand.core.fleet.chains[0].activity or 0, reason="broken"))
    assert hand.one(WorkflowEnded).workflow == "w"
    assert hand.one(RunTool).chunk.instance == "v/x"
    hand.finish_tool("v/x")
    assert hand.one(WorkflowEnded).status == "ok"


def test_a_source_that_is_abandoned() -> None:
    """Nobody needs it but its twin."""
    hand = hand_of(tool("a"), tool("b"), tool("c", "a", "b", join=1), tool("d"))
    hand.send(hand.expansion("w/a"), hand.expansion("w/b"), twin("d", "b"))
    hand.finish_tool("w/a")
    assert status(hand, "b") == "skipped"
    assert hand.one(RunTool).chunk.instance == "w/d"


def test_a_twin_that_is_abandoned() -> None:
    """It is not answered any more, nor does it run."""
    hand = hand_of(tool("s"), tool("a"), tool("b"), tool("c", "a", "b", join=1))
    hand.send(hand.expansion("w/s"), hand.expansion("w/a"), twin("b", "s"))
    hand.finish_tool("w/a")
    hand.finish_tool("w/s")
    hand.none(Reuse)
    assert status(hand, "b") == "skipped"


@pytest.mark.parametrize(
    "source", [Twin(0, "w/z", 0), Twin(0, "w/late", 0), Twin(0, "w/b", 0), Twin(0, "w/b", 1),
               Twin(0, "w/a", 7), Twin(9, "w/a", 0)],
)  # fmt: skip
def test_sources_that_will_have_no_answer(source: Twin) -> None:
    """Unknown, not rendered yet, itself, later than itself, beyond the items: it runs itself."""
    hand = hand_of(tool("a"), tool("b", mapped=True, items=2), tool("late", "a"))
    hand.send(hand.expansion("w/a"))
    hand.send(Expanded(instance="w/b", tails=((), ()), twins=(source,)))
    hand.none(Reuse)
    ready = [c.chunk for c in hand.core.fleet.chains if c.chunk and c.chunk.instance == "w/b"]
    assert sum(c.stop - c.start for c in ready) == 2


def test_twins_across_scopes_of_a_group() -> None:
    """The second item's stage takes the answer of the first one's."""
    hand = hand_of(group("g", tool("a"), tool("b", "a"), items=2))
    hand.expand()
    events: list[Event] = [hand.expansion("w/g[0].a"), twin("g[1].a", "g[0].a")]
    hand.send(*events)
    hand.finish_tool("w/g[0].a")
    asked = [c.instance for c in hand.all(Expand)]
    assert sorted(asked) == ["w/g[0].b", "w/g[1].b"]
    assert hand.one(Reuse).instance == "w/g[1].a"


def test_a_map_of_nothing_but_twins() -> None:
    """It is done without a call."""
    hand = hand_of(tool("a"), tool("b", "a", mapped=True, items=2), tool("c", "b"))
    hand.expand()
    hand.finish_tool("w/a")
    twins = (Twin(0, "w/a", 0), Twin(1, "w/b", 0))
    out = hand.send(Expanded(instance="w/b", tails=((), ()), twins=twins))
    assert [type(command) for command in out] == [Reuse, Reuse, Expand]


def test_ten_thousand_twins_in_a_row() -> None:
    """Each of the one before: no depth of calls."""
    hand = hand_of(replace(tool("a"), mapped=True, items=10_000))
    twins = tuple(Twin(item, "w/a", item - 1) for item in range(1, 10_000))
    hand.send(Expanded(instance="w/a", tails=((),) * 10_000, twins=twins))
    hand.finished(hand.one(RunTool))
    assert len(hand.all(Reuse)) == 9_999
    assert hand.one(WorkflowEnded).status == "ok"
