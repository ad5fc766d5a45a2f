"""Workflows as submitted and as they turn out to be."""

import pytest
from tests import graphs

from fate.bench.workloads.draft import Arrival, Draft, models_of, same, with_lengths
from fate.bench.workloads.lengths import Length, Quantiles, generator
from fate.domain.errors import GraphError
from fate.domain.graph import ITEM, Graph, Segment, path_tokens, shared_tokens
from fate.domain.messages import Call, ItemDone, RunTool
from fate.drivers.setup import Setup
from fate.drivers.simulate import simulate
from fate.drivers.world import Truth
from fate.registry import build

DRAWS = 4000


@pytest.mark.parametrize(
    "length",
    [
        Length(300, 110),
        Length(294, 112, 100_000),
        Quantiles(((0.0, 10.0), (0.5, 30.0), (0.9, 300.0), (1.0, 900.0))),
    ],
)
def test_draws_have_the_mean_that_is_expected(length: Length | Quantiles) -> None:
    """Estimates are means: within 4 % over 4000 draws."""
    draw = generator(3)
    mean = sum(length.draw(draw) for _ in range(DRAWS)) / DRAWS
    assert mean == pytest.approx(length.expected, rel=0.04)


def test_draws_are_cut() -> None:
    """An answer is no longer than its limit; without a deviation nothing is drawn."""
    draw = generator(3)
    assert max(Length(400, 200, 512).draw(draw) for _ in range(200)) == 512
    assert {Length(70).draw(draw) for _ in range(20)} == {70}
    knots = Quantiles(((0.0, 5.0), (1.0, 50.0)))
    assert {5 <= knots.draw(draw) <= 50 for _ in range(200)} == {True} and knots.most == 50


def drafted(seed: int = 1) -> Arrival:
    """A call, a tool, a call that goes on, a map that reads it."""
    draft = Draft("w", generator(seed))
    first = draft.call(
        "a", "A", [draft.text(Length(250), "system"), draft.text(Length(60, 30))], Length(30, 20)
    )
    found = draft.tool("search", (0.5, 0.9), [first], Length(100, 60))
    draft.call("b", "A", [draft.text(Length(20))], Length(30, 20), [found], continues=first)
    item = draft.text(Length(40), f"{ITEM}w/c")
    draft.call("c", "B", [item], Length(10), ["b"])
    draft.items("c", 3)
    draft.after("c", ["search"])
    return draft.done()


def test_prompts_continue_and_read() -> None:
    """Prompt and answer of the stage before, what the tool brought, the text behind."""
    arrival = drafted()
    for graph in (arrival.declared, arrival.actual):
        first, _, second, third = graph.stages
        assert shared_tokens(second.prompt, first.prompt) == path_tokens(first.prompt)
        assert [s.key for s in second.prompt[2:4]] == ["out:w/a[0]", "out:w/search[0]"]
        assert second.parents == ("a", "search") and third.parents == ("b", "search")
        assert second.prompt[2].tokens == first.output_tokens
    assert [stage.items for stage in arrival.declared.stages] == [1, 1, 1, 3]
    assert [s.tool_s for s in (arrival.declared.stages[1], arrival.actual.stages[1])] == [0.5, 0.9]


def test_texts_are_known_answers_are_expected() -> None:
    """What is submitted has its inputs' true tokens, and the means of all else."""
    arrival = drafted()
    declared, actual = arrival.declared.stages, arrival.actual.stages
    assert declared[0].prompt == actual[0].prompt
    assert (declared[0].output_tokens, declared[2].prompt[3].tokens) == (30.0, 100)
    assert actual[0].output_tokens != 30.0 and actual[2].prompt[3].tokens != 100
    assert drafted() == arrival != drafted(seed=2)


def test_shapes_must_agree() -> None:
    """Else the core would wait for stages that never come."""
    two = graphs.chain("w", "AB")
    other = Graph(id="w", stages=two.stages[:1])
    with pytest.raises(GraphError, match="differ in shape"):
        Arrival(declared=two, actual=other)
    assert models_of([same(two)]) == ("A", "B")
    assert same(two).at(3.0).at_s == 3.0


def test_the_world_does_what_is_actual_and_policies_learn_it() -> None:
    """Reported tokens and tool seconds are the true ones; plans before knew only the means."""
    arrival = drafted()
    cluster = graphs.cluster()
    costs = graphs.profile(cluster)
    setup = Setup(cluster=cluster, profile=costs, policy=build("policy", "late-eft"))
    truth = Truth(profile=costs, actual={"w": arrival.actual})
    outcome = simulate([(0.0, arrival.declared)], setup, truth)
    assert outcome.status == "ok"
    events = [(r.at_s, e) for r in outcome.records for e in r.events if isinstance(e, ItemDone)]
    by_id = {
        command.activity: command.chunk.instance.partition("/")[2]
        for record in outcome.records
        for command in record.commands
        if isinstance(command, Call | RunTool)
    }
    done = {by_id[event.activity]: (at_s, event) for at_s, event in events}
    for stage in (arrival.actual.stages[0], arrival.actual.stages[2]):
        assert done[stage.id][1].output_tokens == stage.output_tokens
        assert done[stage.id][1].prompt_tokens == path_tokens(stage.prompt)
    assert done["search"][0] - done["a"][0] == pytest.approx(0.9)


def test_longer_answers_make_longer_prompts() -> None:
    """Those that read them, and only those; limits hold."""
    graph = drafted().declared
    grown = with_lengths(graph, {"a": 2.0, "b": 1e9})
    first, _, second, third = grown.stages
    assert (first.output_tokens, second.output_tokens) == (60.0, 24576.0)
    assert second.prompt[2] == Segment("out:w/a[0]", 60)
    assert second.prompt[3:] == graph.stages[2].prompt[3:]
    assert third.prompt[-1].tokens == 24576 and third.output_tokens == 10.0
    assert with_lengths(graph, {}) == graph
