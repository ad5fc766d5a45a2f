"""How decisions grow: exponents, what is kept, and what the report says of it."""

import dataclasses
from pathlib import Path

import msgspec
import pytest

from fate.bench.report import Report
from fate.bench.scale import Measured, ScalePlan, Size, exponent, scale
from fate.bench.suites.results import code_digest

SMALL = Size(stages=20, devices=16)
SIZES = (SMALL, Size(stages=40, devices=16), Size(stages=40, devices=64))


def test_exponents_are_those_of_the_power_law() -> None:
    """Y = 3 x^1.5 exactly, and 0 where nothing grows."""
    assert exponent([(x, 3.0 * x**1.5) for x in (1.0, 2.0, 10.0)]) == pytest.approx(1.5)
    assert exponent([(10.0, 2.0), (1000.0, 2.0)]) == pytest.approx(0.0)


@pytest.mark.slow
def test_a_run_states_exponents_and_goes_on_where_it_stopped(tmp_path: Path) -> None:
    """Rows of the same code are kept; the report has the curve and the table of growth."""
    plan = ScalePlan(sizes=SIZES, policies=("late-eft",), sampled=4)
    scale(tmp_path, lambda _: None, plan, "fate bench scale --quick")
    rows = msgspec.json.decode((tmp_path / "summary.json").read_bytes())
    found = {(row["cell"], row["metric"]): row for row in rows}
    assert found["growth", "exponent_of_stages"]["n"] == 2
    assert found["growth", "exponent_of_devices"]["n"] == 2
    assert found[SMALL.cell, "decision_ms"]["n"] == 1
    assert "memory_mib" in {metric for cell, metric in found if cell == SMALL.cell}
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "| policy | exponent of stages | exponent of devices |" in text
    assert "late-eft, 64 devices" in (tmp_path / "report.html").read_text(encoding="utf-8")
    lines, said = (tmp_path / "results.jsonl").read_text().splitlines(), list[str]()
    (tmp_path / "results.jsonl").write_text("\n".join([*lines[:-1], lines[-1][:40]]))
    scale(tmp_path, said.append, dataclasses.replace(plan, resume=True))
    assert "2 of 3 are there already" in said


def test_rows_of_other_code_are_measured_again(tmp_path: Path) -> None:
    """A row says which sources made it."""
    assert Report("scale", tmp_path, lambda _: None).machine.cores > 0
    row = Measured(
        size=SMALL,
        policy="late-eft",
        seed=0,
        sampled=4,
        code="another",
        decisions=1,
        plan_s=1.0,
        core_s=1.0,
        peak_bytes=1,
    )
    assert row.code != code_digest()
    (tmp_path / "results.jsonl").write_bytes(msgspec.json.encode(row) + b"\n")
    said = list[str]()
    plan = ScalePlan(sizes=(SMALL,), policies=("late-eft",), sampled=4, resume=True)
    scale(tmp_path, said.append, plan)
    assert not any("there already" in line for line in said)
