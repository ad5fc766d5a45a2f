"""What scheduling costs: whose decisions are timed, and what the report says of it."""

from pathlib import Path

import msgspec
import pytest
from tests.unit.bench.live_runs import latency_report

from fate.bench import overhead
from fate.bench.latency import DECISION, LAG, LatencyPlan, latency
from fate.domain.errors import FateError


def test_the_report_has_bars_beside_the_anchors(tmp_path: Path) -> None:
    """Times as they are, not as ratios: no line at 1."""
    page = latency_report(tmp_path).read_text(encoding="utf-8")
    assert page.count('<div class="bars">') == 2 + len(overhead.SHAPES)
    assert 'class="one"' not in page
    assert "FATE, journal on disk" in page
    assert "Virtual time" not in page
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "| fate | 2.5 | 12.2 | 2.5 | 12.2 | 300 |" in text
    assert "| late-eft | 2.5 | 12.2 |  |  | 300 |" in text
    assert "| event-loop | fate, lag ms p99.9 | 30 | 9000 | at most 20 | ✗ missed |" in text
    assert "`fate` plans for 25 % of the run" in text
    assert "| chain-500 | 294 [280, 301] | 288 | 1458 | 5714 | 2588 |" in text
    assert "## What this does not show" in text


def test_policies_that_bind_early_are_refused(tmp_path: Path) -> None:
    """They never have 32 ready calls to choose from; earlier results stay."""
    (tmp_path / "results.jsonl").write_text("kept")
    with pytest.raises(FateError, match="'round-robin' binds calls as they arrive"):
        latency(tmp_path, lambda _: None, LatencyPlan(policies=["fate", "round-robin"]))
    assert (tmp_path / "results.jsonl").read_text() == "kept"


@pytest.mark.slow
def test_decisions_are_timed_for_the_policies_that_are_named(tmp_path: Path) -> None:
    """Those that plan beside the loop have its lag; targets are those of what is there."""
    plan = LatencyPlan(policies=["late-eft", "fate?depth=0", "helium-late"], decisions=10, repeat=1)
    said = list[str]()
    latency(tmp_path, said.append, plan)
    rows = msgspec.json.decode((tmp_path / "summary.json").read_bytes())
    found = {(row["cell"], row["policy"], row["metric"]) for row in rows}
    timed = {(policy, metric) for cell, policy, metric in found if cell == DECISION}
    parts = {"plan", "snapshot"}
    asked = {(policy, part) for policy in plan.policies for part in parts}
    asked.add(("fate?depth=0", "search"))
    assert timed == {(p, f"{part}_ms_{tail}") for p, part in asked for tail in ("p50", "p99")}
    assert {row["n"] for row in rows if "plan_ms" in row["metric"]} == {10}
    assert {policy for cell, policy, _ in found if cell == LAG} == {"fate?depth=0"}
    assert not any("not measured" in line for line in said)
    assert (tmp_path / "report.html").is_file()
