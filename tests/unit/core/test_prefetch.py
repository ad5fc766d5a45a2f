"""Loads ahead of calls: which, where, when, and when not."""

from typing import Any

import pytest
from msgspec.structs import replace
from tests.by_hand import ByHand, first
from tests.graphs import chain, cluster, group, llm, map_reduce, mixed, profile

from fate.core.options import SchedulerOptions
from fate.domain.graph import Graph
from fate.domain.messages import Call, Load, Unload
from fate.domain.plan import Prefetch
from fate.drivers.setup import Outcome, Setup
from fate.drivers.simulate import simulate
from fate.drivers.world import Truth
from fate.policy.baselines.greedy import LateEft
from fate.view.fold import fold


def hand_with(*graphs: Graph, devices: int = 2, memory_mib: int = 70, **options: Any) -> ByHand:
    """Submit graphs to devices that each hold one model."""
    hand = ByHand(cluster(devices, memory_mib), **{"prefetch": True, **options})
    hand.submit(*graphs)
    return hand


def loads(hand: ByHand) -> list[tuple[str, str]]:
    """Return the loads of the last answer, as (device, model)."""
    return [(load.device, load.model) for load in hand.all(Load)]


def test_an_idle_device_loads_what_the_next_stage_will_need() -> None:
    """At the moment its parent starts, and once."""
    hand = hand_with(chain("w", "AB"), devices=3)
    hand.plan((first("w"),))
    assert loads(hand) == [("d0", "A"), ("d1", "B")]
    ours = next(load for load in hand.all(Load) if load.model == "A")
    hand.loaded(ours)
    assert loads(hand) == []


def test_it_is_off_unless_switched_on() -> None:
    """A device without work stays as it is."""
    hand = hand_with(chain("w", "AB"), prefetch=False)
    hand.plan((first("w"),))
    assert loads(hand) == [("d0", "A")]


def test_only_the_memory_of_dead_models_is_taken() -> None:
    """A is needed again while the first chain has a stage for it, and not after that."""
    for models, gone in (("ABA", []), ("ABC", ["A"])):
        hand = hand_with(chain("w", models))
        hand.plan((first("w"),))
        load_a, load_b = hand.all(Load)
        hand.loaded(load_b)
        hand.loaded(load_a)
        hand.finished(hand.one(Call))
        hand.expand()
        hand.plan((), (first("w", "s1"),))
        assert hand.one(Call).model == "B"
        assert [unload.model for unload in hand.all(Unload)] == gone


def test_ready_work_of_another_model_is_never_delayed() -> None:
    """It waits for d0 on purpose; d1 could still be the next plan's choice for it."""
    hand = hand_with(chain("w", "AB"), chain("v", "C"))
    hand.plan((first("w"), first("v")))
    assert loads(hand) == [("d0", "A")]


def test_wishes_of_policies_are_held_to_the_same() -> None:
    """Whatever the option: B is refused beside ready work for C, and granted without it."""
    for others, granted in (([chain("v", "C")], []), ([], [("d1", "B")])):
        hand = hand_with(chain("w", "AB"), *others, prefetch=False)
        hand.plan((first("w"),), prefetch=(Prefetch(1, 1),))
        assert loads(hand) == [("d0", "A"), *granted]


def test_a_join_waits_until_the_last_of_its_parents_runs() -> None:
    """With a parent that is still to come the join is not next."""
    graph = Graph(
        id="w",
        stages=(
            llm("w", "a", "A"),
            llm("w", "slow", "A", ("a",)),
            llm("w", "join", "B", ("a", "slow")),
        ),
    )
    hand = hand_with(graph)
    hand.plan((first("w", "a"),))
    assert loads(hand) == [("d0", "A")]
    hand.loaded(hand.one(Load))
    hand.finished(hand.one(Call))
    hand.expand()
    hand.plan((first("w", "slow"),))
    assert loads(hand) == [("d1", "B")]


@pytest.mark.parametrize(("probability", "expected"), [(0.9, [("d1", "B")]), (0.3, [])])
def test_what_hardly_ever_runs_is_not_loaded_for(
    probability: float, expected: list[tuple[str, str]]
) -> None:
    """The body of a group that is not revealed yet is known by its declared likelihood."""
    body = replace(llm("w", "check", "B"), probability=probability)
    graph = Graph(id="w", stages=(llm("w", "a", "A"), group("g", body, parents=("a",))))
    hand = hand_with(graph)
    hand.plan((first("w", "a"),))
    assert loads(hand) == [("d0", "A"), *expected]


@pytest.mark.parametrize(("chunk_s", "ahead"), [(5.0, ["d1", "d2"]), (0.0, ["d1", "d2", "d3"])])
def test_wide_work_is_loaded_for_on_several_devices(chunk_s: float, ahead: list[str]) -> None:
    """A map of six, in two chunks or in six: on as many of the idle devices."""
    notes = replace(llm("w", "notes", "B", ("a",)), mapped=True, items=6)
    graph = Graph(id="w", stages=(llm("w", "a", "A"), notes))
    hand = hand_with(graph, devices=4, chunk_s=chunk_s)
    hand.plan((first("w", "a"),))
    assert loads(hand) == [("d0", "A"), *[(device, "B") for device in ahead]]


def ran(graphs: list[Graph], devices: int, *, prefetch: bool) -> Outcome:
    """Simulate under a policy without a search, in a noisy world."""
    on = cluster(devices)
    options = SchedulerOptions(prefetch=prefetch)
    setup = Setup(cluster=on, profile=profile(on), policy=LateEft(), options=options)
    truth = Truth(profile=profile(on), noise=0.1)
    return simulate([(0.0, graph) for graph in graphs], setup, truth)


@pytest.mark.parametrize(
    ("graphs", "devices", "at_most"),
    [
        ([chain("w", "ABC")], 2, 0.75),
        ([chain("w", "ABCAB"), chain("v", "BCABC")], 3, 0.7),
        ([map_reduce("m", items=6)], 3, 0.9),
        (mixed(), 2, 1.0),
        (mixed(), 4, 1.0),
    ],
)
def test_loads_are_hidden_where_devices_are_idle(
    graphs: list[Graph], devices: int, at_most: float
) -> None:
    """Makespan with over without; where all devices have work nothing changes."""
    without, ahead = (ran(graphs, devices, prefetch=on) for on in (False, True))
    assert ahead.status == "ok"
    assert ahead.makespan_s <= at_most * without.makespan_s
    counts = [fold(cluster(devices), outcome.records).counts for outcome in (without, ahead)]
    assert counts[0].output_tokens == counts[1].output_tokens
