"""`fate bench oracle`: cases are solved once, and the report says how far policies are."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from fate.bench.oracle import OraclePlan, oracle
from fate.bench.suites.results import RESULTS

PLAN = OraclePlan(policies=["round-robin", "late-eft"], seeds=[0, 1, 2], stages=6, devices=2)


def run(out: Path, plan: OraclePlan) -> list[str]:
    """Run it; return what it prints."""
    said = list[str]()
    oracle(out, said.append, plan, "fate bench oracle --seeds 0-2")
    return said


def test_no_policy_beats_the_optimum(tmp_path: Path) -> None:
    """Ratios are 1 at the least; the page shows them, Markdown has the same figures."""
    run(tmp_path, PLAN)
    rows = json.loads((tmp_path / "summary.json").read_text())
    ratios = [row for row in rows if row["metric"] == "makespan_over_optimum"]
    assert [row["policy"] for row in ratios] == list(PLAN.policies)
    assert all(row["low"] >= 1.0 - 1e-9 and row["n"] == 3 for row in ratios)
    assert "makespan over the optimum" in (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "| late-eft | " in (tmp_path / "report.md").read_text(encoding="utf-8")


def test_cases_that_are_solved_are_kept(tmp_path: Path) -> None:
    """Those under the same policies, by the same code."""
    run(tmp_path, replace(PLAN, seeds=[0, 1]))
    before = (tmp_path / RESULTS).read_text().splitlines()
    assert "2 of 3 cases are there already" in run(tmp_path, replace(PLAN, resume=True))
    assert (tmp_path / RESULTS).read_text().splitlines()[:2] == before
    said = run(tmp_path, replace(PLAN, policies=["late-eft"], resume=True))
    assert not any("there already" in line for line in said)


@pytest.mark.slow
def test_two_processes_leave_the_same_rows(tmp_path: Path) -> None:
    """The order is that of the seeds."""
    run(tmp_path / "one", PLAN)
    run(tmp_path / "two", replace(PLAN, processes=2))
    assert (tmp_path / "one" / RESULTS).read_bytes() == (tmp_path / "two" / RESULTS).read_bytes()
