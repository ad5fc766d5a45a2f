"""Made-up work and devices of the latency and scale suites."""

import asyncio

import pytest

from fate.bench import synthetic
from fate.bench.decisions import TimedPolicy, run_chains, time_core
from fate.bench.instant import InstantEngine
from fate.bench.overhead import ANCHORS, SHAPES, seconds_per_item
from fate.bench.policies import ready_policy


def test_shapes_are_those_that_other_tools_were_measured_on() -> None:
    """A chain of 500, one to 500 to one, 40 layers of 50 with three parents each."""
    graphs = {name: shape() for name, shape in SHAPES.items()}
    assert [len(graph.stages) for graph in graphs.values()] == [500, 502, 2000]
    assert set(ANCHORS) == set(SHAPES)
    assert all(len(s.parents) == 3 for s in graphs["layered-2000"].stages[50:])
    assert len(graphs["fan-1-500-1"].stages[-1].parents) == 500


def test_no_op_work_runs_to_its_end() -> None:
    """Through the real runtime and a real journal; the time is whatever it is."""
    graph = SHAPES["fan-1-500-1"]()
    assert seconds_per_item(graph, "late-eft") > 0


def test_chains_share_a_system_text_per_model() -> None:
    """Equal seeds make equal work; models differ from chain to chain."""
    assert synthetic.chains(3) == synthetic.chains(3) != synthetic.chains(3, seed=1)
    first = [graph.stages[0] for graph in synthetic.chains(20)]
    assert {s.prompt[0].key for s in first} == {f"system-{s.model}" for s in first}
    assert len({s.model for graph in synthetic.chains(20) for s in graph.stages}) == 4


def test_decisions_are_kept_timed_and_taken_again() -> None:
    """Questions with a full frontier; the core's steps again give the same number of plans."""
    timed = TimedPolicy(ready_policy("late-eft"), ready=4, keep=3)
    outcome, setup = run_chains(timed, ready=4, devices=2, workflows=6)
    assert outcome.status == "ok"
    assert [q.snapshot.frontier for q in timed.questions] == [4, 4, 4]
    times = time_core(outcome.records, setup)
    assert len(times.snapshot_s) == len(timed.seconds)
    assert times.total_s > 0


@pytest.mark.parametrize("pause_s", [0.0, 0.001])
def test_an_instant_engine_reports_its_pause(pause_s: float) -> None:
    """So that estimates follow what it does."""
    loaded = asyncio.run(InstantEngine(pause_s).load("m"))
    assert loaded.seconds == pause_s
