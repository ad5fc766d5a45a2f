"""Figures: paired ratios, pooled quantiles, and which runs count where."""

from pathlib import Path

import numpy as np
import pytest
from tests.unit.bench.suites.rows import row

from fate.bench.report import Report, Row
from fate.bench.suites.catalogue import suite
from fate.bench.suites.figures import LEAD_KEPT, LOST_CELLS, add_figures, pooled_quantiles
from fate.bench.suites.results import Run


def figures(
    tmp_path: Path, runs: list[Run], name: str = "real-dag", **labels: str
) -> dict[tuple[str, str, str], Row]:
    """Return the rows of the summary."""
    report = Report(name, tmp_path, print)
    named = {name.replace("_", "-"): policy for name, policy in labels.items()}
    add_figures(report, suite(name), runs, named)
    return {(r.cell, r.policy, r.metric): r for r in report.rows}


def test_ratios_are_paired(tmp_path: Path) -> None:
    """By hand: .5 and .8 have the geometric mean .632, whatever the sizes of the instances."""
    runs = [
        row("round-robin", 10.0),
        row("fate", 5.0),
        row("round-robin", 1000.0, seed=1),
        row("fate", 800.0, seed=1),
        row("late-eft", 500.0, seed=1),
    ]
    found = figures(tmp_path, runs, best_baseline="late-eft")
    got = found["headline", "fate", "makespan_over_round-robin"]
    assert got.mean == pytest.approx(0.4**0.5)
    assert (got.low, got.high, got.n) == (pytest.approx(0.5), pytest.approx(0.8), 2)
    assert found["mild/switch/W2", "fate", "makespan_over_round-robin"].mean == got.mean
    assert found["headline", "fate", "makespan_over_late-eft"].mean == pytest.approx(1.6)
    assert found["headline", "fate", "makespan_over_late-eft"].n == 1
    assert found["headline", "fate", "makespan_over_best-baseline"].mean == pytest.approx(1.6)
    assert found["headline", "late-eft", "makespan_over_best-baseline"].mean == 1.0


def test_cells_count_where_they_should(tmp_path: Path) -> None:
    """Headline: mild, two workflows, no control. Grid: everything but the control."""

    def settings(cluster: str, regime: str, workflows: int) -> dict[str, object]:
        return {"cluster": cluster, "regime": regime, "workflows": workflows}

    places = [("mild", "switch", 2), ("mild", "compute", 2), ("homog", "prefix", 8)]
    runs = [
        row(policy, base * (i + 1), cell=f"{c}/{r}/W{w}", settings=settings(c, r, w))
        for i, (c, r, w) in enumerate(places)
        for policy, base in (("round-robin", 10.0), ("fate", 5.0))
    ]
    found = figures(tmp_path, runs)
    metric = "makespan_over_round-robin"
    counts = {
        cell: r.n for (cell, policy, m), r in found.items() if (policy, m) == ("fate", metric)
    }
    assert counts["headline"] == 1
    assert counts["grid"] == 2
    assert counts["regime compute"] == 1
    assert counts["cluster mild"] == 1
    assert "regime balanced" not in counts
    assert ("headline", "fate", "p95_over_round-robin") not in found
    assert ("mild/switch/W2", "fate", "p95_s") not in found
    assert found["homog/prefix/W8", "fate", "p95_over_round-robin"].mean == pytest.approx(0.5)
    assert found["grid", "fate", "p95_over_round-robin"].n == 1


def test_lost_cells_are_counted(tmp_path: Path) -> None:
    """A cell counts when all of its interval is above 1.02, however much."""
    cells = {"switch": (1.1, 1.2), "prefix": (1.01, 1.2), "balanced": (0.5, 0.6)}
    runs = [
        row(
            policy,
            10.0 * (ratio if policy == "foresight" else 1.0),
            seed=seed,
            cell=f"mild/{regime}/W2",
            settings={"cluster": "mild", "regime": regime, "workflows": 2},
        )
        for regime, ratios in cells.items()
        for seed, ratio in enumerate(ratios)
        for policy in ("sufferage-state", "foresight")
    ]
    found = figures(tmp_path, runs, best_baseline="sufferage-state")
    lost = found["grid", "foresight", LOST_CELLS]
    assert (lost.mean, lost.n) == (1.0, 3)
    assert found["regime balanced", "foresight", LOST_CELLS].mean == 0.0


def test_the_lower_bound_stands_beside_the_policies(tmp_path: Path) -> None:
    """What no run can be below, over what each takes; where nothing is proved it is left out."""
    runs = [
        row("round-robin", 40.0, least_s=8.0),
        row("fate", 20.0, least_s=8.0),
        row("heft", 10.0, least_s=8.0),
    ]
    found = figures(tmp_path, runs, "llm-native", best_baseline="heft")
    assert found["all", "lower bound", "makespan_over_round-robin"].mean == pytest.approx(0.2)
    assert found["all", "lower bound", "makespan_over_best-baseline"].mean == pytest.approx(0.8)
    assert ("all", "lower bound", LOST_CELLS) not in found
    assert not [key for key in figures(tmp_path, runs) if key[1] == "lower bound"]
    nothing_proved = [row("round-robin", 40.0, least_s=0.0), row("fate", 20.0, least_s=0.0)]
    found = figures(tmp_path, nothing_proved, "llm-native")
    assert not [key for key in found if key[1] == "lower bound"]


def test_leads_are_kept_or_not(tmp_path: Path) -> None:
    """By hand: 40 % ahead with exact estimates, 10 % without: a quarter is kept."""
    ends_s = {"exact": 6.0, "sigma .5": 9.0, "bias .7": 12.0}
    runs = [
        row(policy, end, cell=f"{wrong}/switch", settings={"wrong": wrong}, suite="noise")
        for wrong, end_s in ends_s.items()
        for policy, end in (("sufferage-state", 10.0), ("foresight", end_s))
    ]
    report = Report("noise", tmp_path, print)
    add_figures(report, suite("noise"), runs, {"best-baseline": "sufferage-state"})
    kept = {r.cell: r.mean for r in report.rows if r.metric == LEAD_KEPT}
    assert kept["sigma .5"] == pytest.approx(0.25)
    assert kept["bias .7"] == pytest.approx(-0.5)
    assert "exact" not in kept


def test_headline_takes_its_tail_from_twelve_workflows(tmp_path: Path) -> None:
    """P95 of the headline is over workflows that ran twelve at once, makespan over two."""
    twelve = {"cluster": "mild", "regime": "switch", "workflows": 12}
    runs = [
        row("round-robin", 10.0),
        row("fate", 6.0),
        row("round-robin", 50.0, cell="mild/switch/W12", settings=twelve),
        row("fate", 20.0, cell="mild/switch/W12", settings=twelve),
    ]
    found = figures(tmp_path, runs)
    assert found["headline", "fate", "p95_over_round-robin"].mean == pytest.approx(0.4)
    assert found["headline", "fate", "makespan_over_round-robin"].mean == pytest.approx(0.6)


def test_quantiles_are_of_all_latencies_pooled() -> None:
    """The 19th of 20 latencies, not a mean of two quantiles; resamples draw whole instances."""
    first, second = [float(i) for i in range(1, 11)], [float(i) for i in range(11, 21)]
    draws = np.array([[0, 0], [1, 1], [0, 1]])
    point, resampled = pooled_quantiles([first, second], draws)
    assert point == 19.0
    assert resampled.tolist() == [10.0, 20.0, 19.0]


def test_quantiles_of_instances_of_unequal_size() -> None:
    """What a smaller instance lacks counts as nothing."""
    point, resampled = pooled_quantiles([[5.0], [1.0, 2.0, 3.0]], np.array([[0, 0], [1, 1]]))
    assert point == 5.0
    assert resampled.tolist() == [5.0, 3.0]


def test_shares_and_counts(tmp_path: Path) -> None:
    """By hand from the row's seconds: 2 of 10 busy seconds are loads, 10 of 20 are idle."""
    found = figures(tmp_path, [row("fate", 10.0)])
    cell = "mild/switch/W2"
    assert found[cell, "fate", "load_share"].mean == pytest.approx(0.2)
    assert found[cell, "fate", "compute_share"].mean == pytest.approx(0.4)
    assert found[cell, "fate", "idle_share"].mean == pytest.approx(0.5)
    assert found[cell, "fate", "cached_share"].mean == pytest.approx(0.25)
    assert found[cell, "fate", "loads"].mean == 3.0
