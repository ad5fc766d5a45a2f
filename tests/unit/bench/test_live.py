"""What the live benchmark makes of its runs."""

from pathlib import Path

import msgspec
import pytest

from fate.bench.live import (
    ALL,
    POLICIES,
    REFERENCES,
    TARGETS,
    LivePlan,
    check_equal_work,
    rotated,
    summarise,
)
from fate.bench.live_run import Call, LiveRun
from fate.bench.report import Report, Row
from fate.domain.errors import FateError
from fate.registry import names


def run(cell: str, policy: str, pair: int, wall_s: float, loads: int) -> LiveRun:
    """Return a run of 1 000 computed tokens."""
    call = Call(
        stage="s", model="A", calls=1, prompt_tokens=9.0, answer_tokens=4.0, output_tokens=4
    )
    return LiveRun(
        cell=cell,
        policy=policy,
        pair=pair,
        seed=0,
        wall_s=wall_s,
        predicted_s=wall_s * 1.1,
        prediction_error=0.1,
        prediction_error_at_half=0.05,
        loads=loads,
        prompt_tokens=1500,
        cached_tokens=500,
        computed_tokens=1000,
        restored=0,
        copies=0,
        moved_bytes=0,
        move_s=0.0,
        output_tokens=4,
        load_s=1.0,
        prefill_s=1.0,
        decode_s=1.0,
        idle_s=0.0,
        planner_cpu_share=0.01,
        plan_ms_p50=1.0,
        plan_ms_p99=2.0,
        fallback_share=0.0,
        calls=(call,),
    )


def rows(tmp_path: Path, runs: list[LiveRun]) -> dict[tuple[str, str, str], Row]:
    """Return the figures of runs by cell, policy and metric."""
    report = Report("live", tmp_path, lambda _: None)
    summarise(report, runs, {name: name for name in REFERENCES})
    return {(row.cell, row.policy, row.metric): row for row in report.rows}


def test_ratios_are_paired_within_a_cell_and_pooled_in_all(tmp_path: Path) -> None:
    """Two cells of one pair each are two pairs of `all`; cells without a gain stay out of it."""
    found = rows(
        tmp_path,
        [
            run("mixed", "round-robin", 0, 10.0, 20),
            run("mixed", "fate", 0, 5.0, 5),
            run("chains", "round-robin", 0, 4.0, 10),
            run("chains", "fate", 0, 4.0, 10),
            run("control", "round-robin", 0, 1.0, 2),
            run("control", "fate", 0, 2.0, 2),
        ],
    )
    assert found["mixed", "fate", "wall_over_round-robin"].mean == pytest.approx(0.5)
    pooled = found[ALL, "fate", "wall_over_round-robin"]
    assert (pooled.mean, pooled.n) == (pytest.approx(0.5**0.5), 2)
    assert found[ALL, "fate", "loads_over_round-robin"].mean == pytest.approx(0.5)
    assert found["control", "fate", "wall_over_round-robin"].mean == pytest.approx(2.0)
    assert found[ALL, "fate", "prediction_error"].mean == pytest.approx(0.1)
    assert found[ALL, "fate", "prediction_error_at_half"].mean == pytest.approx(0.05)


def test_every_target_is_a_figure_of_a_full_run(tmp_path: Path) -> None:
    """A misspelt metric would never be missed."""
    cells = ("mixed", "chains", "control")
    found = rows(tmp_path, [run(cell, policy, 0, 1.0, 1) for cell in cells for policy in POLICIES])
    assert all((t.cell, t.policy, t.metric) in found for t in TARGETS)
    assert set(POLICIES) <= set(names("policy"))


def test_unequal_work_stops_the_benchmark() -> None:
    """One token more and the comparison is worth nothing."""
    first, second = run("mixed", "round-robin", 0, 1.0, 1), run("mixed", "fate", 0, 1.0, 1)
    check_equal_work([first], second)
    call = msgspec.structs.replace(second.calls[0], output_tokens=5)
    with pytest.raises(FateError, match="would not be fair"):
        check_equal_work([first], msgspec.structs.replace(second, calls=(call,)))


def test_policies_rotate() -> None:
    """Each is first once in as many pairs as there are policies."""
    assert [rotated(["a", "b", "c"], pair) for pair in range(4)] == [
        ["a", "b", "c"],
        ["b", "c", "a"],
        ["c", "a", "b"],
        ["a", "b", "c"],
    ]


def test_cells_without_a_gain_run_fewer_policies_unless_told() -> None:
    """Which is what keeps three pairs within a quarter of an hour."""
    plan = LivePlan(cells=["mixed", "control"], policies=None, pairs=2, tier="synthetic", seed=0)
    assert plan.runs == 2 * (7 + 4)
    told = LivePlan(cells=["mixed", "control"], policies=["fate"], pairs=2, tier="real", seed=0)
    assert told.runs == 4
