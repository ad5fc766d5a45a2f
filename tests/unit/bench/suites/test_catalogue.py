"""The table of suites: lists that are frozen, and cases that are what their cells say."""

import dataclasses
import inspect
import json
from pathlib import Path
from typing import Any

import pytest
from tests.unit.bench.suites.rows import row
from tests.unit.bench.suites.test_real_dag import instance_folder

from fate.bench.case import Case
from fate.bench.hints import Undeclared
from fate.bench.policies import ready_policy
from fate.bench.rivals import PLANNERS, as_published, with_late_binding
from fate.bench.suites import chosen, variants
from fate.bench.suites.catalogue import SUITES, suite
from fate.bench.suites.given import Given, given
from fate.bench.suites.looks import LOOKS
from fate.bench.suites.native import GraphsSpec, NativeSpec, ReuseSpec, reuse_axis
from fate.bench.suites.problem import Problem
from fate.bench.suites.real_dag import ProxySpec
from fate.bench.suites.suite import Choice
from fate.bench.suites.token_dag import TokenSpec
from fate.cli import suites as commands
from fate.domain.errors import FateError

WITHOUT_DATA = sorted(set(SUITES) - {"trace"})


def test_every_suite_has_a_command_and_a_look() -> None:
    """And none of either without a suite."""
    assert set(commands.SUITES) == set(SUITES) == set(LOOKS)


@pytest.mark.parametrize("name", WITHOUT_DATA)
@pytest.mark.parametrize("quick", [True, False])
def test_lists_are_frozen(name: str, quick: bool) -> None:
    """The same list each time, no problem twice, all of them the suite's own."""
    choice = Choice(seeds=(0, 1), quick=quick)
    found = suite(name).problems(choice)
    assert found == suite(name).problems(choice)
    assert len({(p.cell, p.seed) for p in found}) == len(found)
    assert {p.suite for p in found} == {name}
    assert {p.seed for p in found} == {0, 1}


@pytest.mark.parametrize("name", ["real-dag", "load", "noise", "arrivals", "ablation", "anytime"])
def test_quick_runs_on_files_leave_out_large_ones(name: str) -> None:
    """All the same, so that suites have instances in common."""
    found = suite(name).problems(Choice(seeds=(0,), quick=True, instances=Given("dags", "0")))
    specs = [p.spec for p in variants.bases(found)]
    assert {spec.most_tasks for spec in specs} == {120}
    whole = suite(name).problems(Choice(seeds=(0,), instances=Given("dags", "0")))
    assert {p.spec.most_tasks for p in variants.bases(whole) if isinstance(p.spec, ProxySpec)} == {
        None
    }


def cells(name: str, choice: Choice) -> list[str]:
    """Return the cells of a suite."""
    return [problem.cell for problem in suite(name).problems(choice)]


def runs(name: str, choice: Choice) -> int:
    """Return how many runs a suite is."""
    return len(suite(name).problems(choice)) * len(suite(name).policies(choice))


@pytest.mark.parametrize("name", WITHOUT_DATA)
def test_a_quick_run_is_a_part_of_the_whole(name: str) -> None:
    """Fewer problems or policies, and the policies that matter."""
    whole, part = Choice(seeds=(0,)), Choice(seeds=(0,), quick=True)
    assert set(cells(name, part)) <= set(cells(name, whole))
    assert runs(name, part) < runs(name, whole)
    policies = suite(name).policies(part)
    assert policies[0] == chosen.REFERENCE
    assert set(PLANNERS) <= set(policies) or name in ("ablation", "tune")
    assert chosen.chosen(name).late in policies or name == "tune"
    assert len(policies) == len(set(policies))


def test_a_full_run_of_real_dag_has_twelve_policies_or_more() -> None:
    """Round-robin, late-EFT and both planners always."""
    policies = suite("real-dag").policies(Choice(seeds=(0,)))
    assert len(policies) >= 12
    assert {"round-robin", "late-eft", *PLANNERS} <= set(policies)


def test_labels_are_baselines_that_are_what_they_say() -> None:
    """The best as published is as published; the best with late binding binds late."""
    for name in SUITES:
        best = chosen.chosen(name)
        assert best.published in as_published()
        assert best.late in with_late_binding()


def test_targets_belong_to_their_suite() -> None:
    """None that is written down is left out, and nobody is compared who does not run."""
    aimed = [name for name in SUITES if SUITES[name].targets]
    assert aimed == ["real-dag", "llm-native", "prefix-reuse", "noise", "arrivals"]
    for name in ("noise", "arrivals"):
        run = suite(name).policies(Choice(seeds=(0,)))
        over = {t.metric.partition("_over_")[2] for t in SUITES[name].targets}
        assert over <= {*run, "best-baseline"}


def test_a_trace_is_asked_for() -> None:
    """There is none of ours."""
    with pytest.raises(FateError, match="--trace FILE"):
        suite("trace").problems(Choice(seeds=(0,)))


def test_cells_of_a_trace_come_with_waits_known_too(tmp_path: Path) -> None:
    """The same cases, other estimates; groups tell them apart."""
    file = tmp_path / "trace.jsonl"
    names = ("input_length", "output_length", "hash_ids")
    rows = [
        {"timestamp": 9_000 * n**2}
        | dict(zip(names, (1500, 40 * (n + 1), [1, 2, n + 3]), strict=True))
        for n in range(6)
    ]
    file.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    found = suite("trace").problems(Choice(seeds=(0,), quick=True, trace=given(file)))
    assert [problem.cell for problem in found] == ["mixed-4", "known/mixed-4"]
    drawn, known = (problem.case(tmp_path) for problem in found)
    assert drawn.truth == known.truth
    assert known.arrivals != drawn.arrivals
    assert all(known.truth.actual[graph.id] == graph for _, graph in known.arrivals)
    run = {"known": True}, {"known": False}
    pools = {pool.name: pool for pool in suite("trace").pools()}
    rows_of = [row("late-eft", 1.0, settings=settings) for settings in run]
    assert [pools["known"].within(each) for each in rows_of] == [True, False]
    assert [pools["all"].within(each) for each in rows_of] == [False, True]


def test_unknown_suites_are_refused() -> None:
    """The message has those that there are."""
    with pytest.raises(FateError, match="real-dag, load"):
        suite("nonsense")


def test_only_the_option_for_its_data_is_a_commands() -> None:
    """`trace` has no --graphs, and so on."""
    run: Any = vars(commands)["_command"]("trace", "trace")
    names = set(inspect.signature(run).parameters)
    assert "trace" in names
    assert not {"graphs", "instances"} & names


@pytest.fixture(name="base")
def small_base(tmp_path: Path) -> ProxySpec:
    """Return a small batch."""
    folder = instance_folder(tmp_path / "dags")
    return ProxySpec(cluster="mild", regime="switch", workflows=2, instances=given(folder))


def graphs(case: Case) -> list[str]:
    """Return what runs, without when."""
    return [graph.id for _, graph in case.arrivals]


def test_estimates_are_wrong_in_one_way(tmp_path: Path, base: ProxySpec) -> None:
    """What happens is the same but for noise; what is believed is the same but for bias."""
    cases = {
        name: variants.WrongSpec(base=base, wrong=name).case(0, tmp_path) for name in variants.WRONG
    }
    exact = cases["exact"]
    assert exact == base.case(0, tmp_path)
    assert cases["sigma .5"].truth.noise == 0.5
    assert cases["sigma .5"].profile == exact.profile
    assert cases["bias .7"].profile != exact.profile
    assert cases["bias .7"].truth.profile == exact.truth.profile
    assert cases["lengths off 2x"].arrivals != exact.arrivals
    assert cases["lengths off 2x"].truth.profile == exact.truth.profile
    assert cases["stale prefixes"].truth.forget_rate > 0
    assert cases["missing edges"] == exact


def test_undeclared_edges_are_hidden_from_policies(base: ProxySpec) -> None:
    """Only where edges are missing; a problem without such a thing shows all."""
    policy = ready_policy("round-robin")
    for wrong in variants.WRONG:
        spec = variants.WrongSpec(base=base, wrong=wrong)
        shown = Problem(suite="noise", cell=wrong, seed=0, spec=spec).shown(policy)
        assert isinstance(shown, Undeclared) == (wrong == "missing edges")
    assert Problem(suite="real-dag", cell="c", seed=0, spec=base).shown(policy) is policy


def test_tokens_are_the_same_dags_on_every_rig(tmp_path: Path, base: ProxySpec) -> None:
    """Text moves for free; with artefacts the same DAGs run."""
    specs = [
        TokenSpec(gpus=gpus, artefacts=artefacts, instances=base.instances)
        for gpus, artefacts in (("homog", False), ("mild", False), ("mild", True))
    ]
    homog, mild, files = [spec.case(0, tmp_path) for spec in specs]
    assert homog.arrivals == mild.arrivals
    assert len(mild.arrivals) == 8
    assert not any(s.output_bytes for _, graph in mild.arrivals for s in graph.stages)
    assert graphs(files) == graphs(mild)
    assert [spec.cell for spec in specs] == [
        "tokens/homog/W8",
        "tokens/mild/W8",
        "tokens/mild/artefacts/W8",
    ]


def test_arrivals_come_at_a_share_of_capacity(tmp_path: Path, base: ProxySpec) -> None:
    """Half the load takes twice as long to arrive; what arrives is the same."""
    slow = variants.ArrivalSpec(base=base, share=0.45).case(0, tmp_path)
    quick = variants.ArrivalSpec(base=base, share=0.9).case(0, tmp_path)
    assert graphs(slow) == graphs(quick) == graphs(base.case(0, tmp_path))
    assert quick.arrivals[1][0] > 0
    assert slow.arrivals[1][0] == pytest.approx(2 * quick.arrivals[1][0])


def test_the_frontier_is_bounded(tmp_path: Path, base: ProxySpec) -> None:
    """Both bounds are the cell's, everything else is the batch."""
    case = variants.FrontierSpec(base=base, frontier=8).case(0, tmp_path)
    assert (case.options.frontier_min, case.options.frontier_max) == (8, 8)
    assert dataclasses.replace(case, options=base.case(0, tmp_path).options) == base.case(
        0, tmp_path
    )


def test_variants_prepare_their_batch(base: ProxySpec) -> None:
    """Instances to generate are those of the batch inside."""
    inner = Problem(suite="x", cell="c", seed=0, spec=base)
    outer = Problem(suite="x", cell="c", seed=0, spec=variants.FrontierSpec(base=base, frontier=8))
    assert variants.bases([outer, inner]) == [inner, inner]


def test_native_cells_are_made_by_name(tmp_path: Path) -> None:
    """Each cell and share makes a case; seeds differ."""
    case = NativeSpec(cell="rag").case(0, tmp_path)
    assert len(case.arrivals) == 24
    assert case != NativeSpec(cell="rag").case(1, tmp_path)
    known = NativeSpec(cell="rag", known=True).case(0, tmp_path)
    assert known.truth == case.truth and known.arrivals != case.arrivals
    assert all(known.truth.actual[graph.id] == graph for _, graph in known.arrivals)
    for cell in reuse_axis().values():
        assert len(ReuseSpec(cell=cell).case(0, tmp_path).arrivals) == 60


def test_graphs_of_a_file(tmp_path: Path) -> None:
    """A seed draws which graphs run together."""
    file = Path(__file__).parents[5] / "shared" / "data" / "llm_workflows.json"
    if not file.is_file():
        pytest.skip("the graphs are not part of the project")
    spec = GraphsSpec(file=given(file), gpus="mild")
    assert len(spec.case(0, tmp_path).arrivals) == 12
    assert graphs(spec.case(0, tmp_path)) != graphs(spec.case(1, tmp_path))
    assert graphs(spec.case(0, tmp_path)) == graphs(spec.case(0, tmp_path))
