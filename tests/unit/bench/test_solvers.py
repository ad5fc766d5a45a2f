"""The suites of solvers and slots: assignment is exact, one slot is foretold exactly."""

import json
from itertools import permutations
from pathlib import Path

import pytest

from fate.bench import slots, solvers
from fate.bench.decisions import TimedPolicy, run_chains
from fate.domain.snapshot import Snapshot
from fate.policy.baselines.greedy import LateEft
from fate.policy.kernel.backend import ReferenceKernel
from fate.policy.kernel.problem import Weights


def a_snapshot(ready: int, devices: int) -> Snapshot:
    """A decision with so many ready calls, the last one met, devices in many states."""
    timed = TimedPolicy(LateEft(), ready=ready, keep=100)
    run_chains(timed, ready=ready, devices=devices, workflows=4 * ready)
    return timed.questions[-1].snapshot


def test_assignment_gives_every_device_the_call_that_makes_the_sum_least() -> None:
    """Of all ways to give four devices one of five calls each."""
    snapshot = a_snapshot(5, 4)
    ticks = solvers.finish_ticks(snapshot)
    answer = solvers.hungarian(ReferenceKernel(snapshot, Weights()), snapshot)
    heads = [order[0] for order in answer.orders]
    total = sum(ticks[node, device] for device, node in enumerate(heads))
    least = min(
        sum(int(ticks[node, device]) for device, node in enumerate(way))
        for way in permutations(range(5), 4)
    )
    assert total == least
    assert sorted(node for order in answer.orders for node in order) == list(range(5))


def test_every_way_is_reported(tmp_path: Path) -> None:
    """Build and solve time and the value over the best, of each."""
    solvers.solvers(tmp_path, lambda _: None, snapshots=1, sizes=(4,))
    rows = json.loads((tmp_path / "summary.json").read_text())
    found = {(row["policy"], row["metric"]) for row in rows}
    for name in solvers.WAYS:
        for metric in ("objective_over_best", "build_ms", "solve_ms"):
            assert (name, metric) in found
    assert min(r["mean"] for r in rows if r["metric"] == "objective_over_best") == pytest.approx(1)


def test_one_slot_is_foretold_exactly(tmp_path: Path) -> None:
    """And so are several."""
    slots.slots(tmp_path, lambda _: None, cases=2, workflows=5)
    rows = json.loads((tmp_path / "summary.json").read_text())
    errors = {(r["cell"], r["policy"], r["metric"]): r["mean"] for r in rows}
    for policy in ("replay", "projection"):
        for metric in ("makespan_error", "end_error"):
            assert errors["1 slot", policy, metric] < 1e-9
            assert errors["8 slots", policy, metric] < 1e-9
