"""Plans for the whole DAG: small ones by hand, and compiled ones equal to the last bit."""

import dataclasses
from math import inf

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.strategies import Box, Kind, Node, make_snapshot, snapshots

from fate.domain.snapshot import Snapshot
from fate.policy.kernel import backend
from fate.policy.kernel.backend import CompiledKernel, ReferenceKernel
from fate.policy.kernel.problem import Weights
from fate.policy.kernel.reference_project import ANY, LEFT_OUT_S, Aims, Places, Projection
from fate.policy.kernel.reference_rolled import (
    LATE_EFT,
    ROLLED_MIN_MIN,
    SUFFERAGE,
    Urgency,
    window,
)
from fate.policy.kernel.reference_whole import MOVE_WIDTH, overtaken
from fate.policy.kernel.whole import Whole

#: A call of 100 prompt and 10 output tokens takes 1 + 1 s on a device that has its model.
CALL_S = 2.0


def whole(snapshot: Snapshot, aims: Aims | None = None) -> Whole:
    """Open the DAG of a snapshot."""
    return ReferenceKernel(snapshot, Weights()).whole(aims or Aims(mean=0.0))


def warm(*free_in: float) -> Box:
    """A device with model 0 loaded."""
    return Box(free_in=free_in or (0.0,), resident={0: (-1, -1)})


def test_a_child_starts_when_its_parent_ends_and_its_device_is_free() -> None:
    """Parent on device 0, child on device 1 behind 5 s of other work: 102, then 105 to 107."""
    ready, waiting = [Node(children=(1,))], [Node()]
    snapshot = make_snapshot(ready, [warm(), warm(5.0)], [Kind()], waiting)
    found, value_s = whole(snapshot).project(Places([0, 1], [0.0, 1.0]))
    assert found.finish_s == pytest.approx([102.0, 107.0])
    assert (value_s, found.before) == (pytest.approx(7.0), [-1, -1])


def test_outputs_of_planned_parents_travel() -> None:
    """500 bytes at 0.01 s: beside the parent the child ends 5 s sooner."""
    ready, waiting = [Node(children=(1,), output_bytes=500.0)], [Node()]
    snapshot = make_snapshot(ready, [warm(), warm()], [Kind()], waiting, link_s=0.01)
    near, _ = whole(snapshot).project(Places([0, 0], [0.0, 1.0]))
    far, _ = whole(snapshot).project(Places([0, 1], [0.0, 1.0]))
    assert (near.finish_s[1], far.finish_s[1]) == pytest.approx((104.0, 109.0))


def test_an_output_without_bytes_travels_in_no_time() -> None:
    """A link's latency is paid for what goes over it only."""
    ready, waiting = [Node(children=(1,))], [Node()]
    snapshot = make_snapshot(ready, [warm(), warm()], [Kind()], waiting)
    slow = dataclasses.replace(snapshot, link=np.ones_like(snapshot.link))
    found, _ = whole(slow).project(Places([0, 1], [0.0, 1.0]))
    assert found.finish_s == pytest.approx([102.0, 104.0])


def test_the_lowest_turn_that_is_ready_goes_first() -> None:
    """Node 2 has the first turn but waits for a running parent until 103; the others fill in."""
    ready, waiting = [Node(), Node()], [Node(released_at_s=103.0)]
    snapshot = make_snapshot(ready, [warm()], [Kind()], waiting)
    found, _ = whole(snapshot).project(Places([0, 0, 0], [2.0, 1.0, 0.0]))
    assert found.finish_s == pytest.approx([104.0, 102.0, 106.0])
    assert found.turn == [1.0, 0.0, 2.0]


def test_anybodys_node_goes_to_the_idle_device_with_the_least_to_load() -> None:
    """Device 0 would load 10 s, device 1 has the model: it takes both, one after the other."""
    snapshot = make_snapshot([Node(), Node(model=1)], [Box(resident={1: ()}), warm()], [Kind()] * 2)
    found = whole(snapshot).affinity()
    assert found.device == [1, 0]


def test_what_nobody_can_run_counts_against_a_plan() -> None:
    """A node without an eligible device is left out, and so is its child."""
    ready, waiting = [Node(eligible=(0,), children=(1,))], [Node()]
    snapshot = make_snapshot(ready, [warm()], [Kind()], waiting)
    for places in (Places([ANY, 0], [0.0, 1.0]), Places([0, 0], [0.0, 1.0])):
        found, value_s = whole(snapshot).project(places)
        assert found.finish_s == [inf, inf]
        assert value_s == 2 * LEFT_OUT_S


def test_the_mean_counts_each_workflow_once() -> None:
    """Workflow ends at 2 and 4 s: makespan 4, mean 3, 95th percentile 4."""
    snapshot = make_snapshot([Node(workflow=3), Node(workflow=7)], [warm()], [Kind()])
    places = Places([0, 0], [0.0, 1.0])
    assert whole(snapshot, Aims(0.5, 0.0)).project(places)[1] == pytest.approx(4.0 + 1.5)
    assert whole(snapshot, Aims(0.0, 1.0)).project(places)[1] == pytest.approx(8.0)


def test_rules_differ_in_what_is_urgent() -> None:
    """Late EFT starts the longest path first, min-min the shortest call."""
    ready = [Node(output=5.0), Node(tail_s=50.0)]
    snapshot = make_snapshot(ready, [warm()], [Kind()])
    assert whole(snapshot).rolled(LATE_EFT).turn == [1.0, 0.0]
    assert whole(snapshot).rolled(ROLLED_MIN_MIN).turn == [0.0, 1.0]


def test_a_factor_on_its_rank_makes_a_node_urgent() -> None:
    """What is left of the longer path is less."""
    ready = [Node(tail_s=40.0), Node(tail_s=50.0)]
    snapshot = make_snapshot(ready, [warm()], [Kind()])
    assert whole(snapshot).rolled(LATE_EFT).turn == [1.0, 0.0]
    assert whole(snapshot).rolled(LATE_EFT, np.array([1.0, 0.5])).turn == [0.0, 1.0]


def test_who_loses_most_gets_the_device_it_needs() -> None:
    """Both end first on device 0; only the second has nowhere else to go without 9 s of load."""
    ready = [Node(output=5.0), Node(model=1)]
    boxes = [Box(resident={0: (), 1: ()}), Box(resident={0: ()})]
    snapshot = make_snapshot(ready, boxes, [Kind(load_s=9.0), Kind(load_s=9.0)])
    assert whole(snapshot).rolled(SUFFERAGE).device == [1, 0]


def test_a_rule_leaves_a_node_to_a_busy_device_that_ends_it_first() -> None:
    """Device 0 is free in 1 s and has the model, device 1 would load it for 9 s: it stays idle."""
    boxes = [warm(1.0), Box()]
    snapshot = make_snapshot([Node(), Node()], boxes, [Kind(load_s=9.0)])
    places = whole(snapshot).rolled(LATE_EFT)
    assert places.device == [0, 0]


def test_nobody_can_run_a_node_and_the_others_go_on() -> None:
    """It keeps no device, and the last turn."""
    snapshot = make_snapshot([Node(eligible=(0,)), Node()], [warm()], [Kind()])
    places = whole(snapshot).rolled(SUFFERAGE)
    assert places == Places([ANY, 0], [2.0, 0.0])


def test_the_search_finds_a_free_device() -> None:
    """Two calls in a row on one of two warm devices: any move apart halves the makespan."""
    snapshot = make_snapshot([Node(), Node()], [warm(), warm()], [Kind()])
    moves = np.random.default_rng(0).integers(0, 1 << 31, (30, MOVE_WIDTH))
    places, value_s = whole(snapshot).search(Places([0, 0], [0.0, 1.0]), moves)
    assert value_s == pytest.approx(CALL_S)
    assert sorted(places.device) == [0, 1]


def test_the_search_may_take_losses_and_returns_the_best_plan_it_met() -> None:
    """Each on a device of its own is best; moves that may bring any loss leave it."""
    snapshot = make_snapshot([Node(), Node()], [warm(), warm()], [Kind()])
    moves = np.random.default_rng(0).integers(0, 1 << 31, (30, MOVE_WIDTH))
    start = Places([0, 1], [0.0, 1.0])
    assert whole(snapshot).search(start, moves, np.full(30, 1e3)) == (start, CALL_S)


def test_a_node_may_go_before_those_that_started_while_it_was_ready() -> None:
    """Four in one slot, one second each; the last one is ready as the second one runs."""
    found = Projection(
        [1.0, 2.0, 3.0, 4.0], [0] * 4, [0.0, 1.0, 2.0, 3.0], [0.0, 0.0, 0.0, 1.5], [-1, 0, 1, 2]
    )
    assert overtaken(found, 3) == [2]
    assert overtaken(found, 2) == [1, 0]
    assert overtaken(found, 0) == []


@pytest.mark.parametrize(
    ("most", "turn"), [(1, [0.0, 1.0, 2.0]), (2, [2.0, 1.0, 0.0]), (3, [2.0, 1.0, 0.0])]
)
def test_a_narrow_rule_looks_at_the_longest_of_every_workflow_first(
    most: int, turn: list[float]
) -> None:
    """What ends first goes first, of those looked at: of two, one is of the other workflow."""
    ready = [Node(output=30), Node(output=20), Node(output=10, workflow=1)]
    snapshot = make_snapshot(ready, [warm()], [Kind()])
    assert whole(snapshot).rolled(ROLLED_MIN_MIN._replace(window=most)).turn == turn


@pytest.mark.parametrize(
    ("nodes", "devices", "looked"), [(1, 1, 1), (934, 8, 934), (10_000, 8, 125), (10_000, 64, 64)]
)
def test_rules_look_at_all_that_is_ready_but_in_large_dags(
    nodes: int, devices: int, looked: int
) -> None:
    """A thousand calls on eight devices are no large DAG."""
    assert min(window(nodes, devices), nodes) == looked


@pytest.fixture(scope="module")
def _compiled(request: pytest.FixtureRequest) -> None:
    """Compile once per machine; the cache outlives the run."""
    cache = request.config.cache
    assert cache is not None
    assert backend.warm(str(cache.mkdir("numba")), whole=True) == "compiled", backend.status()


@pytest.mark.slow
@pytest.mark.usefixtures("_compiled")
@given(snapshot=snapshots(), seed=st.integers(0, 1000))
@settings(max_examples=60, deadline=None)
def test_compiled_plans_are_equal_to_the_last_bit(snapshot: Snapshot, seed: int) -> None:
    """Greedy plans, projections with their causes, and the search."""
    aims = Aims(0.3, 0.5 if seed % 2 else 0.0)
    plain = ReferenceKernel(snapshot, Weights()).whole(aims)
    quick = CompiledKernel(snapshot, Weights()).whole(aims)
    factors = np.random.default_rng(seed).uniform(0.5, 2.0, len(snapshot.model))
    narrow = SUFFERAGE._replace(window=1), Urgency(1.0, 0.3, 0.1, 2)
    for rule in (LATE_EFT, ROLLED_MIN_MIN, SUFFERAGE, Urgency(1.0, 0.3, 0.1), *narrow):
        assert plain.rolled(rule, factors) == quick.rolled(rule, factors)
    start = plain.affinity()
    assert start == quick.affinity()
    assert plain.project(start) == quick.project(start)
    draw = np.random.default_rng(seed)
    moves = draw.integers(0, 1 << 31, (20, MOVE_WIDTH))
    assert plain.search(start, moves) == quick.search(start, moves)
    slack_s = draw.exponential(size=20)
    assert plain.search(start, moves, slack_s) == quick.search(start, moves, slack_s)
