"""Quality against budget: what the budgets are, what none is worth, and how it is reported."""

from pathlib import Path
from xml.etree import ElementTree

import pytest
from tests.unit.bench.suites.rows import row
from tests.unit.bench.suites.test_real_dag import instance_folder

from fate.bench.case import Case, run_case
from fate.bench.policies import ready_policy, split_options
from fate.bench.report import Report
from fate.bench.suites import anytime
from fate.bench.suites.catalogue import suite
from fate.bench.suites.figures import add_figures
from fate.bench.suites.given import given
from fate.bench.suites.ladder import ladder_section
from fate.bench.suites.real_dag import ProxySpec
from fate.bench.suites.results import Times
from fate.bench.suites.suite import Choice
from fate.bench.suites.tables import Book
from fate.domain.plan import Memo, Plan
from fate.domain.snapshot import Snapshot
from fate.policy.base import Lookahead, Policy
from fate.policy.foresight.construction import GREEDY
from fate.policy.foresight.options import ForesightOptions
from fate.policy.kernel.backend import open_kernel
from fate.policy.kernel.problem import Weights
from fate.policy.kernel.reference_project import Aims
from fate.view.fold import fold

BASES = ("idle-affinity", *GREEDY)
#: Of the mean end beside the makespan.
WEIGHT = ForesightOptions().mean


@pytest.fixture(name="case", params=["balanced", "switch", "transfer", "prefix"])
def small_case(request: pytest.FixtureRequest, tmp_path: Path) -> Case:
    """Return a small batch of the headline's kind; estimates are exact."""
    folder = instance_folder(tmp_path / "dags")
    spec = ProxySpec(cluster="mild", regime=request.param, workflows=2, instances=given(folder))
    return spec.case(0, tmp_path)


class Greedy:
    """Carries out the greedy plan it is told, made at the first decision."""

    eager = False
    inline = True
    lookahead: Lookahead = "all"

    def __init__(self, base: str) -> None:
        self.name = base
        self._without = ready_policy(anytime.at_budget(0.0))

    def plan(self, snapshot: Snapshot, memo: Memo | None) -> Plan:
        """Make the plan, or remember it."""
        if memo is None:
            whole = open_kernel(snapshot, Weights(depth=0)).whole(Aims(WEIGHT, 0.0))
            places = whole.rolled(GREEDY[self.name]) if self.name in GREEDY else whole.affinity()
            order = sorted(range(len(places.turn)), key=lambda node: (places.turn[node], node))
            memo = Memo(
                nodes=tuple([snapshot.node_names[n] for n in order]),
                devices=tuple([int(places.device[n]) for n in order]),
            )
        return self._without.plan(snapshot, memo)


def worth_s(case: Case, policy: Policy) -> float:
    """Return what a run is worth to `foresight`: its makespan, and a part of the mean end."""
    outcome = run_case(case, policy)
    assert outcome.status == "ok"
    ends_s = [span.end_s or 0.0 for span in fold(case.cluster, outcome.records).workflows]
    return outcome.makespan_s + WEIGHT * sum(ends_s) / len(ends_s)


def test_without_a_budget_it_is_the_best_of_the_greedy_plans(case: Case) -> None:
    """Each greedy plan is carried out by itself; the policy is worth what the best of them is."""
    greedy = {base: worth_s(case, Greedy(base)) for base in BASES}
    without = worth_s(case, ready_policy(anytime.at_budget(0.0)))
    assert without == pytest.approx(min(greedy.values()), rel=1e-9)
    assert len(set(greedy.values())) > 1


def test_budgets_are_parts_of_the_defaults() -> None:
    """A quarter of each option that bounds the search; the whole is the policy as it is."""
    defaults = ForesightOptions()
    plain, options = split_options(anytime.at_budget(0.25))
    assert plain == "foresight"
    assert options == {
        name: round(getattr(defaults, name) / 4) for name in ForesightOptions.__struct_fields__
        if name in set(anytime.BUDGETED)
    }  # fmt: skip
    assert anytime.at_budget(1.0) == "foresight"
    assert split_options(anytime.at_budget(0.0))[1]["challenge"] is False
    for share in anytime.BUDGETS:
        ready_policy(anytime.at_budget(share))


def test_quick_budgets_are_some_of_them() -> None:
    """None and the whole are always there."""
    full, quick = (set(anytime.policies(Choice(seeds=(0,), quick=q))) for q in (False, True))
    assert quick < full
    assert {anytime.at_budget(0.0), anytime.at_budget(1.0), "fate", "round-robin"} <= quick


def test_the_report_has_a_curve_of_quality_over_budget(tmp_path: Path) -> None:
    """By hand: 80, 60 and 50 of round-robin's 100 s; `fate` is a level beside them."""
    none, quarter = anytime.at_budget(0.0), anytime.at_budget(0.25)
    ends_s = {"round-robin": 100.0, "fate": 70.0, none: 80.0, quarter: 60.0, "foresight": 50.0}
    runs = [
        row(policy, end_s, suite="anytime", searched=0 if policy == none else 140)
        for policy, end_s in ends_s.items()
    ]
    times = [
        Times(suite="anytime", cell="c", seed=0, policy=policy, code="",
              planner_cpu_s=0.07, cpu_s=1.0, decisions=7)
        for policy in ends_s
    ]  # fmt: skip
    report = Report("anytime", tmp_path, print)
    add_figures(report, suite("anytime"), runs, {})
    book = Book(report.rows, suite("anytime").titles)
    section = ladder_section(book, suite("anytime"), times)
    assert section.table is not None
    assert [line[:4] for line in section.table.lines] == [
        ("0", ".800", "0", "10"),
        ("0.25", ".600", "20", "10"),
        ("1", ".500", "20", "10"),
    ]
    drawn = ElementTree.fromstring(f"<div>{section.plots[0]}</div>")
    marks = [float(circle.get("cy") or "") for circle in drawn.iter("circle")]
    assert marks == sorted(marks)
    assert len(marks) == 3
    levels = [line for line in drawn.iter("line") if line.get("class") == "level"]
    assert [title.text for title in levels[0].iter("title")] == ["fate: .700"]
    assert book.title(quarter) == "foresight x 1/4"
