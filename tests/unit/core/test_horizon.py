"""Groups in the horizon: expected instances stand for scopes until they are revealed."""

import pytest
from msgspec.structs import replace
from tests.by_hand import ByHand
from tests.graphs import cluster, group, llm

from fate.core.instances import Instance
from fate.domain.graph import Graph, Stage
from fate.domain.messages import Call, Load, Skipped


def hand_of(*stages: Stage) -> ByHand:
    """Submit a workflow `w` with a call of A that is ready."""
    hand = ByHand(cluster(devices=1, memory_mib=200))
    hand.submit(Graph(id="w", stages=stages))
    return hand


def edges(hand: ByHand) -> dict[tuple[str, str], float]:
    """Return the edges of the last snapshot with their shares."""
    snapshot = hand.snapshot
    return {
        (snapshot.node_names[row], snapshot.node_names[snapshot.child[e]]): float(
            snapshot.child_share[e]
        )
        for row in range(len(snapshot.node_names))
        for e in range(snapshot.child_ptr[row], snapshot.child_ptr[row + 1])
    }


def row(hand: ByHand, name: str) -> dict[str, float]:
    """Return a node's figures in the last snapshot."""
    snapshot = hand.snapshot
    n = snapshot.node_names.index(name)
    return {
        "items": float(snapshot.rest_items[n]) + 1,
        "output": float(snapshot.output_tokens[n]),
        "tail": float(snapshot.tail_s[n]),
    }


def step(hand: ByHand) -> None:
    """Let the first chunk of the last snapshot run, and render what follows."""
    hand.plan(hand.snapshot.chunks[:1])
    for load in hand.all(Load):
        hand.loaded(load)
    hand.finished(hand.one(Call))
    hand.expand()


def test_one_expected_instance_for_each_stage_of_a_map_s_body() -> None:
    """It has as many items as the map, and what comes behind the group comes behind it."""
    body = (llm("w", "a", "A"), llm("w", "b", "B", ["a"]))
    study = group("study", *body, items=10_000, parents=["plan"])
    hand = hand_of(llm("w", "plan", "A"), study, llm("w", "end", "C", ["study"]))
    assert hand.snapshot.node_names == ("w/plan", "w/study.a", "w/study.b", "w/end")
    assert edges(hand) == {
        ("w/plan", "w/study.a"): 1.0,
        ("w/study.a", "w/study.b"): 1.0,
        ("w/study.b", "w/end"): 1.0,
    }
    assert row(hand, "w/study.b")["items"] == 10_000
    assert row(hand, "w/study.b")["output"] == 10_000 * 32
    assert len(hand.core.lifecycle.instances) == 3
    assert hand.core.lifecycle.workflows["w"].open_stages == 3


def test_facts_take_their_place() -> None:
    """Revealed stages have one item each; what is behind the group waits for all of them."""
    study = group("study", llm("w", "a", "A"), llm("w", "b", "B", ["a"]), items=3, parents=["plan"])
    hand = hand_of(llm("w", "plan", "A"), study, llm("w", "end", "C", ["study"]))
    step(hand)
    hand.expand()
    names = [f"w/study[{i}].{stage}" for stage in "ab" for i in range(3)]
    assert list(hand.snapshot.node_names) == [*names, "w/end"]
    for i in range(3):
        assert edges(hand)[f"w/study[{i}].a", f"w/study[{i}].b"] == 1.0
        assert edges(hand)[f"w/study[{i}].b", "w/end"] == pytest.approx(1 / 3)


def test_probabilities_weigh_edges() -> None:
    """A group that may be skipped, with a stage in it that may be skipped."""
    body = (replace(llm("w", "a", "A"), probability=0.5), llm("w", "b", "B", ["a"]))
    maybe = replace(group("g", *body, parents=["plan"]), probability=0.4)
    hand = hand_of(
        llm("w", "plan", "A"), maybe, replace(llm("w", "c", "C", ["plan"]), probability=0.3)
    )
    found = edges(hand)
    assert found["w/plan", "w/g.a"] == pytest.approx(0.2)
    assert found["w/g.a", "w/g.b"] == pytest.approx(0.4)
    assert found["w/plan", "w/c"] == pytest.approx(0.3)


def test_a_loop_shows_two_rounds_and_what_is_behind_it() -> None:
    """The second round is as likely as one more of those that are left."""
    loop = group("l", llm("w", "a", "A"), llm("w", "b", "B", ["a"]), rounds=3, parents=["plan"])
    hand = hand_of(llm("w", "plan", "A"), loop, llm("w", "end", "C", ["l"]))
    found = edges(hand)
    assert found["w/plan", "w/l.a"] == 1.0
    assert found["w/l.b", "w/l.a"] == pytest.approx(2 / 3)
    assert found["w/l.b", "w/end"] == pytest.approx(0.5)  # the second round leads there too
    names = hand.snapshot.node_names
    assert names.count("w/l.a") == 2


def test_a_loop_that_goes_on() -> None:
    """With every round another one is less likely; after the last, none is expected."""
    loop = group("l", llm("w", "a", "A"), rounds=3)
    hand = hand_of(loop, llm("w", "end", "C", ["l"]))
    hand.expand()
    tails = list[float]()
    for number, likely in ((1, 2 / 3), (2, 1 / 2), (3, None)):
        found = edges(hand)
        assert found.get((f"w/l#{number}.a", "w/l.a")) == (likely and pytest.approx(likely))
        tails.append(row(hand, f"w/l#{number}.a")["tail"])
        step(hand)
        hand.expand()
    assert tails[0] > tails[1] > tails[2] > 0
    assert hand.snapshot.node_names == ("w/end",)


def test_nested_groups_multiply() -> None:
    """Three by four by one item; a loop inside counts once per item."""
    inner = group("part", llm("w", "a", "A"), items=4)
    loop = group("refine", llm("w", "r", "A"), rounds=2, parents=["part"])
    study = group("study", inner, loop, items=3, parents=["plan"])
    hand = hand_of(llm("w", "plan", "A"), study)
    assert row(hand, "w/study.part.a")["items"] == 12
    assert row(hand, "w/study.refine.r")["items"] == 3
    assert edges(hand)["w/study.part.a", "w/study.refine.r"] == 1.0


def test_tools_and_empty_groups_are_seen_through() -> None:
    """What comes behind them comes next."""
    tool = Stage(id="t", kind="tool")
    nothing = group("none", llm("w", "x", "B"), items=0, parents=["plan"])
    tools = group("tools", tool, items=5, parents=["none"])
    hand = hand_of(llm("w", "plan", "A"), nothing, tools, llm("w", "end", "C", ["tools"]))
    assert edges(hand) == {("w/plan", "w/end"): 1.0}


def test_a_group_ranks_as_long_as_its_longest_path() -> None:
    """Rounds one after the other, items side by side over the devices."""

    def rank(*stages: Stage, name: str = "g") -> Instance:
        hand = ByHand(cluster(devices=2, memory_mib=200))
        hand.submit(Graph(id="w", stages=stages))
        return hand.core.lifecycle.instances[f"w/{name}"]

    a, b = llm("w", "a", "A"), llm("w", "b", "B", ["a"])
    one, two = rank(a, name="a").own_s, rank(a, b, name="b").own_s
    assert rank(group("g", a, b)).own_s == pytest.approx(one + two)
    assert rank(group("g", a, b, rounds=3)).own_s == pytest.approx(3 * (one + two))
    assert rank(group("g", a, items=10)).own_s == pytest.approx(10 * one / 2)


def test_a_skipped_group_leaves_the_horizon() -> None:
    """What was expected of it is no longer waited for."""
    stages = (
        llm("w", "plan", "A"),
        replace(group("g", llm("w", "x", "B"), items=2), kept=True),
        llm("w", "end", "C", ["plan", "g"]),
    )
    hand = ByHand()
    hand.send_graph(Graph(id="w", stages=stages))
    end = hand.core.lifecycle.instances["w/end"]
    assert end.calls_left == 2
    hand.send(Skipped(instance="w/g"))
    assert end.calls_left == 1
