"""What is expected of a run before it begins."""

import pytest
from tests.graphs import cluster, mixed, profile

from fate import begin
from fate.drivers.setup import Setup
from fate.drivers.simulate import simulate
from fate.policy.baselines.greedy import LateEft


def test_the_work_does_not_wait_for_its_prediction(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is the simulation's makespan, or none where that takes too long."""
    of = cluster()
    setup = Setup(cluster=of, profile=profile(of), policy=LateEft())
    expected_s = simulate([(0.0, graph) for graph in mixed()], setup).makespan_s
    assert begin.predict(mixed(), setup) == expected_s
    monkeypatch.setattr(begin, "MAX_PREDICTING_S", -1.0)
    assert begin.predict(mixed(), setup) is None
