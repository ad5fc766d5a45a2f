"""The runner: the same rows however they come about; only what is missing is run."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.unit.bench.test_uses import case, stage

from fate.bench.case import Case
from fate.bench.guards import GuardError
from fate.bench.report import Report
from fate.bench.suites.problem import Problem
from fate.bench.suites.results import ASIDE, RESULTS, TIMES, code_digest
from fate.bench.suites.runner import (
    Jobs,
    Rules,
    earlier_results,
    named_policies,
    run_jobs,
)
from fate.bench.suites.solve import RunError
from fate.domain.errors import FateError

POLICIES = ("round-robin", "late-eft")


class ChainSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A chain of so many stages on two devices."""

    length: int

    def case(self, seed: int, store: Path) -> Case:
        """Make it; the seed changes nothing."""
        assert store.is_dir()
        stages = [
            stage(f"s{i}", "ab"[i % 2], *([f"s{i - 1}"] if i else [])) for i in range(self.length)
        ]
        return case(2, *stages)


def problems() -> list[Problem]:
    """Return three problems of two cells."""
    return [
        Problem(suite="x", cell=f"L{length}", seed=seed, spec=ChainSpec(length=length))
        for length, seed in ((3, 0), (3, 1), (6, 0))
    ]


def run(out: Path, *, processes: int = 1, resume: bool = False) -> list[str]:
    """Run everything that is missing; return the lines of progress."""
    jobs, lines = Jobs(problems=problems(), policies=POLICIES), list[str]()
    out.mkdir(exist_ok=True)
    results = earlier_results(out, jobs, resume=resume)
    report = Report("x", out, lines.append, keep=True)
    rows = run_jobs(jobs, results, report, processes=processes, line=lambda p, _: p.label)
    assert [r.key for r in rows] == jobs.keys()
    return lines


def test_rows_come_in_the_order_of_the_list(tmp_path: Path) -> None:
    """One row for each policy and problem, with everything that was configured."""
    run(tmp_path)
    rows = [json.loads(line) for line in (tmp_path / RESULTS).read_text().splitlines()]
    assert [(r["cell"], r["seed"], r["policy"]) for r in rows] == [
        (p.cell, p.seed, policy) for p in problems() for policy in POLICIES
    ]
    assert rows[0]["settings"] == {"length": 3}
    assert rows[0]["code"] == code_digest()
    assert rows[0]["stages"] == 3
    # loads 3 s on both devices, one after the other; 1.2 s of prompt and 1 s of answer each;
    # two outputs of 1 000 bytes over the link, .25 + 2 s each
    assert rows[0]["makespan_s"] == pytest.approx(3 * 2.2 - 1.0 + 2 * 3.0 + 2 * 2.25)
    times = [json.loads(line) for line in (tmp_path / TIMES).read_text().splitlines()]
    assert [t["policy"] for t in times] == list(POLICIES) * 3
    assert all(t["planner_cpu_s"] > 0 for t in times)


def test_same_seeds_same_bytes(tmp_path: Path) -> None:
    """Two runs leave equal rows."""
    run(tmp_path / "a")
    run(tmp_path / "b")
    assert (tmp_path / "a" / RESULTS).read_bytes() == (tmp_path / "b" / RESULTS).read_bytes()


def test_resume_runs_what_is_missing(tmp_path: Path) -> None:
    """Rows of the same code and settings are kept, to the byte; others are made again."""
    run(tmp_path)
    whole = (tmp_path / RESULTS).read_bytes()
    first, *rest = whole.splitlines(keepends=True)
    other = rest[0].replace(code_digest().encode(), b"0" * 12)
    (tmp_path / RESULTS).write_bytes(first + other + b"".join(rest[2:])[:-40])
    lines = run(tmp_path, resume=True)
    assert [line.partition("] ")[2].partition(",")[0] for line in lines] == [
        "L3 seed 0",
        "L3 seed 1",
        "L6 seed 0",
    ]
    assert (tmp_path / RESULTS).read_bytes() == whole
    assert run(tmp_path, resume=True) == []
    assert len(run(tmp_path)) == 3


def test_resume_sets_aside_what_is_not_in_the_list(tmp_path: Path) -> None:
    """Rows of another list, and of other code, are not lost: a later command finds its own."""
    run(tmp_path)
    whole, times = (tmp_path / RESULTS).read_bytes(), (tmp_path / TIMES).read_bytes()
    other = whole.splitlines(keepends=True)[0].replace(code_digest().encode(), b"0" * 12)
    (tmp_path / RESULTS).write_bytes(other + whole)
    few = Jobs(problems=problems()[:1], policies=POLICIES[:1])
    results = earlier_results(tmp_path, few, resume=True)
    assert list(results.runs) == few.keys()
    assert results.aside == 6
    assert other in (tmp_path / ASIDE / RESULTS).read_bytes()
    assert run(tmp_path, resume=True) == []
    assert (tmp_path / RESULTS).read_bytes() == whole
    assert (tmp_path / TIMES).read_bytes() == times
    assert (tmp_path / ASIDE / RESULTS).read_bytes() == other
    assert (tmp_path / ASIDE / TIMES).read_bytes() == b""


def test_a_failing_policy_is_no_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The core would go on with its greedy plan; a suite does not."""

    def fails(*_: Any) -> None:
        raise ValueError("nonsense")

    monkeypatch.setattr("fate.policy.baselines.greedy.LateEft.plan", fails)
    with pytest.raises(RunError, match=r"x L3 seed 0, late-eft: the policy failed .*nonsense"):
        run(tmp_path)


@pytest.mark.parametrize("processes", [1, 2])
def test_rules_are_checked_and_what_is_drawn_is_kept(tmp_path: Path, processes: int) -> None:
    """Beside the problems; histories are those of the drawn problem alone."""
    first = problems()[0]
    rules = Rules(policies=POLICIES, seed=0)
    jobs = Jobs(problems=problems(), policies=POLICIES, rules=rules, drawn=first)
    results, lines = earlier_results(tmp_path, jobs, resume=False), list[str]()
    report = Report("x", tmp_path, lines.append, keep=True)
    run_jobs(jobs, results, report, processes=processes, line=lambda p, _: p.label)
    assert "rules between runs hold in 7 small ones" in "\n".join(lines)
    makespans = {run.policy: run.makespan_s for run in results.runs.values() if run.cell == "L3"}
    assert {name: h.makespan_s for name, h in results.histories.items()} == makespans


def test_a_broken_rule_ends_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is said which."""

    def broken(*_: Any) -> None:
        raise GuardError("late-eft is better than the optimum")

    monkeypatch.setattr("fate.bench.selfcheck.check_optimum", broken)
    rules = Rules(policies=POLICIES, seed=0)
    jobs = Jobs(problems=problems(), policies=POLICIES, rules=rules)
    results = earlier_results(tmp_path, jobs, resume=False)
    report = Report("x", tmp_path, print, keep=True)
    with pytest.raises(RunError, match="a rule between runs is broken: late-eft is better"):
        run_jobs(jobs, results, report, processes=1, line=lambda p, _: p.label)


def test_policies_by_name() -> None:
    """Round-robin is always there; a wrong name is refused before anything runs."""
    assert named_policies("fate?depth=0, fate") == ["round-robin", "fate?depth=0", "fate"]
    with pytest.raises(FateError, match="did you mean 'fate'"):
        named_policies("fat")
    with pytest.raises(FateError, match="unknown field `depht`"):
        named_policies("fate?depht=0")
    with pytest.raises(FateError, match="is no option=value"):
        named_policies("fate?")
    with pytest.raises(FateError, match="no name"):
        named_policies(" ,")


@pytest.mark.slow
def test_two_processes_leave_the_same_bytes(tmp_path: Path) -> None:
    """Processes finish in any order; the file does not show it."""
    run(tmp_path / "one")
    run(tmp_path / "two", processes=2)
    assert (tmp_path / "one" / RESULTS).read_bytes() == (tmp_path / "two" / RESULTS).read_bytes()
