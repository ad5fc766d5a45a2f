"""Groups: scopes are revealed, go side by side or one after the other, and end the group."""

import pytest
from msgspec.structs import replace
from tests.by_hand import ByHand
from tests.graphs import cluster, group, llm

from fate.domain.errors import GraphError, ProtocolError
from fate.domain.graph import Chunk, Graph, Scope, Stage
from fate.domain.messages import (
    Call,
    Cancel,
    CancelAll,
    Cancelled,
    DeviceLost,
    Done,
    Expand,
    Expanded,
    ItemDone,
    Revealed,
    RunTool,
    Skipped,
    WorkflowEnded,
)


def tool(name: str, *parents: str, **more: object) -> Stage:
    """A tool, which needs no device and no plan."""
    return Stage(id=name, kind="tool", parents=parents, tool_s=0.01, **more)  # pyright: ignore[reportArgumentType]


def hand_of(*stages: Stage) -> ByHand:
    """Submit a workflow `w` to a core that runs everything at once on the host."""
    hand = ByHand(cluster(tool_slots=64))
    hand.submit(Graph(id="w", stages=stages))
    end(hand)
    return hand


def running(hand: ByHand) -> list[str]:
    """Return the instances at work."""
    return sorted(c.chunk.instance for c in hand.core.fleet.chains if c.chunk is not None)


def end(hand: ByHand, *names: str) -> None:
    """Let tools end, and render what that asks for, until nothing is asked for."""
    for name in names:
        hand.finish_tool(f"w/{name}")
    while hand.all(Expand):
        hand.expand()


def status(hand: ByHand, name: str) -> str:
    """Return an instance's status."""
    return hand.core.lifecycle.instances[f"w/{name}"].status


def test_items_of_a_map_run_side_by_side_each_at_its_own_pace() -> None:
    """Nobody waits for another item's stage before its own next one."""
    study = group("study", tool("a"), tool("b", "a"), items=3)
    hand = hand_of(study, tool("end", "study"))
    assert running(hand) == [f"w/study[{i}].a" for i in range(3)]
    end(hand, "study[1].a")
    end(hand, "study[1].b")
    assert running(hand) == ["w/study[0].a", "w/study[2].a"]
    end(hand, "study[0].a", "study[2].a")
    end(hand, "study[0].b")
    assert status(hand, "study") == "open" and status(hand, "end") == "waiting"
    end(hand, "study[2].b")
    assert status(hand, "study") == "done"
    end(hand, "end")
    assert hand.one(WorkflowEnded).status == "ok"


def test_rounds_of_a_loop_follow_each_other_until_there_is_none() -> None:
    """The core asks again after each round."""
    solve = group("solve", tool("try"), tool("check", "try"), rounds=2)
    hand = hand_of(solve, tool("end", "solve"))
    for number in (1, 2):
        assert running(hand) == [f"w/solve#{number}.try"]
        end(hand, f"solve#{number}.try")
        end(hand, f"solve#{number}.check")
    assert status(hand, "solve") == "done" and running(hand) == ["w/end"]


def test_a_loop_over_one_stage_of_its_own_name() -> None:
    """Its rounds carry the group's name alone."""
    hand = hand_of(group("refine", tool("refine"), rounds=3))
    for number in (1, 2, 3):
        assert running(hand) == [f"w/refine#{number}"]
        end(hand, f"refine#{number}")
    assert hand.one(WorkflowEnded).status == "ok"


def test_a_group_over_nothing_is_done_at_once() -> None:
    """What follows it runs."""
    hand = hand_of(group("study", tool("a"), items=0), tool("end", "study"))
    end(hand)
    assert status(hand, "study") == "done" and running(hand) == ["w/end"]


def test_a_group_over_nothing_inside_a_loop() -> None:
    """The round is over with it, and the next one asked for, to the end of the loop."""
    inner = group("each", tool("a"), items=0)
    hand = hand_of(group("solve", inner, rounds=3), tool("end", "solve"))
    end(hand)
    assert [status(hand, f"solve#{n}.each") for n in (1, 2, 3)] == ["done"] * 3
    assert running(hand) == ["w/end"]


def test_a_map_in_a_map() -> None:
    """Three by four, all side by side; the outer item ends with the last inner one."""
    inner = group("part", tool("a"), items=4)
    hand = hand_of(group("study", inner, tool("sum", "part"), items=3))
    end(hand)
    assert running(hand) == [f"w/study[{i}].part[{j}].a" for i in range(3) for j in range(4)]
    end(hand, *[f"study[1].part[{j}].a" for j in range(4)])
    assert "w/study[1].sum" in running(hand)
    end(hand, "study[1].sum")
    for i in (0, 2):
        end(hand, *[f"study[{i}].part[{j}].a" for j in range(4)])
        end(hand, f"study[{i}].sum")
    assert hand.one(WorkflowEnded).status == "ok"


def test_a_loop_in_a_map() -> None:
    """Every item is at a round of its own."""
    hand = hand_of(group("study", group("refine", tool("refine"), rounds=2), items=2))
    end(hand)
    end(hand, "study[1].refine#1")
    assert running(hand) == ["w/study[0].refine#1", "w/study[1].refine#2"]
    end(hand, "study[1].refine#2", "study[0].refine#1")
    end(hand, "study[0].refine#2")
    assert hand.one(WorkflowEnded).status == "ok"


def test_a_map_in_a_loop() -> None:
    """A round waits for all items, the next one has items of its own."""
    inner = group("each", tool("a"), items=2)
    hand = hand_of(group("solve", inner, tool("judge", "each"), rounds=2))
    end(hand)
    for n in (1, 2):
        assert running(hand) == [f"w/solve#{n}.each[{i}].a" for i in (0, 1)]
        end(hand, f"solve#{n}.each[0].a", f"solve#{n}.each[1].a")
        end(hand, f"solve#{n}.judge")
    assert hand.one(WorkflowEnded).status == "ok"


def test_a_skipped_group_is_never_revealed() -> None:
    """Its condition does not hold: what depends on it alone is skipped too."""
    hand = ByHand()
    stages = (group("study", tool("a"), items=3), tool("end", "study"), tool("other"))
    hand.send_graph(Graph(id="w", stages=stages))
    hand.send(Skipped(instance="w/study"), hand.expansion("w/other"))
    assert status(hand, "study") == status(hand, "end") == "skipped"
    end(hand, "other")
    assert hand.one(WorkflowEnded).status == "ok"


def test_skipping_goes_down_a_long_chain_at_once() -> None:
    """A stage without any parent left is not asked for; the workflow ends well."""
    stages = [tool("s0")]
    stages += [tool(f"s{k}", f"s{k - 1}") for k in range(1, 3000)]
    hand = ByHand()
    hand.send_graph(Graph(id="w", stages=tuple(stages)))
    hand.send(Skipped(instance="w/s0"))
    hand.none(Expand)
    assert hand.one(WorkflowEnded).status == "ok"


def test_a_stage_goes_on_with_the_parents_that_are_there() -> None:
    """One of two parents was skipped."""
    hand = ByHand()
    hand.send_graph(Graph(id="w", stages=(tool("a"), tool("b"), tool("c", "a", "b"))))
    hand.send(Skipped(instance="w/a"), hand.expansion("w/b"))
    end(hand, "b")
    assert running(hand) == ["w/c"]


def test_everything_skipped_through_a_group() -> None:
    """All stages of all scopes are skipped: the group is done nevertheless, with what it has."""
    hand = ByHand()
    hand.send_graph(Graph(id="w", stages=(group("g", tool("a"), items=2), tool("end", "g"))))
    hand.expand()
    hand.send(Skipped(instance="w/g[0].a"), Skipped(instance="w/g[1].a"))
    assert status(hand, "g") == "done"
    assert [c.instance for c in hand.all(Expand)] == ["w/end"]


def test_a_workflow_that_is_cancelled_while_a_group_is_open() -> None:
    """What runs is stopped, late answers are ignored."""
    inner = group("part", tool("a"), items=2)
    hand = ByHand()
    hand.send_graph(Graph(id="w", stages=(group("g", inner, tool("b"), items=2),)))
    hand.expand()
    hand.send(*[hand.expansion(f"w/g[{i}].b") for i in (0, 1)])
    hand.send(CancelAll())
    assert hand.one(WorkflowEnded).status == "cancelled"
    stopped = [command.activity for command in hand.all(Cancel)]
    assert len(stopped) == 2
    hand.send(hand.expansion("w/g[0].part"), *[Cancelled(activity=a) for a in stopped])
    hand.none(Expand, RunTool)
    assert hand.core.finished


def test_a_device_is_lost_while_scopes_run() -> None:
    """The scope's call runs again elsewhere; its siblings' outputs stay."""
    body = (llm("w", "a", "A"), llm("w", "b", "A", ["a"]))
    hand = ByHand(cluster(devices=2))
    hand.warm("A", 0)
    hand.submit(Graph(id="w", stages=(group("g", *body, items=2),)))
    hand.expand()
    hand.plan((Chunk("w/g[0].a", 0, 1),))
    hand.finished(hand.one(Call))
    hand.expand()
    hand.plan((Chunk("w/g[0].b", 0, 1),))
    hand.one(Call)
    hand.send(DeviceLost(device="d0", reason="gone"))
    assert status(hand, "g[0].a") == "done"
    assert {r.chunk.instance for r in hand.core.lifecycle.pool} == {"w/g[0].b", "w/g[1].a"}


def test_models_are_checked_inside_of_groups() -> None:
    """Before anything runs, in the body; later, in what is revealed."""
    hand = ByHand()
    bad = replace(llm("w", "a", "A"), model="Z")
    with pytest.raises(GraphError, match="stage 'a': no model 'Z'"):
        hand.submit(Graph(id="w", stages=(group("g", group("h", bad)),)))
    hand = ByHand()
    hand.send_graph(Graph(id="w", stages=(group("g", llm("w", "a", "A")),)))
    hand.send(Revealed(instance="w/g", scopes=(Scope(0, (replace(bad, id="g[0].a"),)),)))
    ended = hand.one(WorkflowEnded)
    assert ended.status == "failed" and "stage 'g[0].a': no model 'Z'" in ended.reason


def test_scopes_that_cannot_be_are_refused() -> None:
    """Twice the same, a parent that comes later, an answer of the wrong kind."""
    scope = Scope(0, (tool("g[0].a"),))
    odd = Scope(0, (tool("g[0].b", "g[0].a"), tool("g[0].a")))
    for events in (
        [Revealed(instance="w/g", scopes=(scope, scope))],
        [Revealed(instance="w/g", scopes=(scope, Scope(1, scope.stages)))],
        [Revealed(instance="w/g", scopes=(odd,))],
        [Revealed(instance="w/g", scopes=(scope,)), Skipped(instance="w/g")],
        [Revealed(instance="w/t")],
        [Expanded(instance="w/g")],
    ):
        hand = ByHand()
        hand.send_graph(Graph(id="w", stages=(group("g", tool("a")), tool("t"))))
        with pytest.raises(ProtocolError):
            hand.core.handle(events, 1.0)


def test_lengths_seen_in_a_scope_are_expected_in_those_revealed_later() -> None:
    """Whatever the round, it is the same stage."""
    hand = ByHand(cluster(devices=1))
    hand.warm("A")
    hand.submit(Graph(id="w", stages=(group("g", llm("w", "a", "A"), rounds=2),)))
    hand.expand()
    hand.plan((Chunk("w/g#1.a", 0, 1),))
    call = hand.one(Call)
    hand.send(
        ItemDone(activity=call.activity, item=0, output_tokens=62), Done(activity=call.activity)
    )
    hand.expand()
    hand.expand()
    assert hand.snapshot.output_tokens.tolist() == [(2 * 32 + 62) / 3]


def test_ten_thousand_items() -> None:
    """All scopes are there after one answer, the frontier stays bounded, the horizon too."""
    body = (llm("w", "a", "A"), llm("w", "b", "B", ["a"]))
    study = group("study", *body, items=10_000)
    hand = ByHand()
    hand.submit(Graph(id="w", stages=(study, llm("w", "end", "C", ["study"]))))
    hand.expand()
    assert hand.snapshot.ready_total == 10_000
    assert hand.snapshot.frontier == 32
    assert len(hand.snapshot.node_names) == 2 * 32 + 1
    assert hand.core.lifecycle.workflows["w"].open_stages == 20_002
