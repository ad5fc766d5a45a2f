"""Arrivals at a share of capacity, and estimates that are wrong."""

import dataclasses
import math
from itertools import pairwise
from statistics import fmean, stdev

import pytest
from tests import graphs

from fate.bench.case import Case, run_case
from fate.bench.workloads.arrivals import at_share, capacity_per_s, poisson
from fate.bench.workloads.cases import make_case
from fate.bench.workloads.draft import same
from fate.bench.workloads.native import llm_native
from fate.bench.workloads.noise import biased, noisy, wrong_lengths
from fate.bench.workloads.rigs import Rig
from fate.domain.errors import FateError
from fate.domain.graph import Graph
from fate.registry import build


def case(workflows: int = 6) -> Case:
    """Chains on two small devices; what is declared happens."""
    cluster = graphs.cluster()
    rig = Rig(cluster=cluster, profile=graphs.profile(cluster))
    return make_case([same(graphs.chain(f"w-{i}", "AB")) for i in range(workflows)], rig, seed=3)


def drawn() -> Case:
    """Workflows whose answers differ from what was declared."""
    cluster = graphs.cluster()
    rig = Rig(cluster=cluster, profile=graphs.profile(cluster))
    return make_case(llm_native(0, 8, ("vote", "mapreduce")), rig, seed=3)


def outputs(of: dict[str, Graph] | Case) -> dict[str, float]:
    """Output tokens by workflow and stage: of graphs, or as a case declares them."""
    each = of.values() if isinstance(of, dict) else [graph for _, graph in of.arrivals]
    return {f"{g.id}/{s.id}": s.output_tokens for g in each for s in g.stages}


def test_poisson() -> None:
    """First at 0, in order, at the rate asked for; the same gaps, stretched."""
    slow, quick = poisson(case(2000), 0.5, seed=1), poisson(case(2000), 5.0, seed=1)
    times = [at_s for at_s, _ in slow.arrivals]
    assert times[0] == 0.0 and times == sorted(times)
    assert times[-1] / len(times) == pytest.approx(2.0, rel=0.1)
    assert [at_s for at_s, _ in quick.arrivals] == pytest.approx([t / 10 for t in times])
    gaps = [b - a for a, b in pairwise(times)]
    assert stdev(gaps) == pytest.approx(fmean(gaps), rel=0.1)
    assert poisson(case(5), 1.0, seed=1).arrivals != poisson(case(5), 1.0, seed=2).arrivals
    with pytest.raises(FateError, match="the rate must be positive"):
        poisson(case(), 0.0, seed=1)


def test_a_share_of_what_late_eft_can_do() -> None:
    """All at once, it finishes 1 / capacity seconds of workflow each; arrivals keep to a share."""
    policy, of = build("policy", "late-eft"), case(40)
    capacity = capacity_per_s(of, policy)
    assert capacity * run_case(of, policy).makespan_s == pytest.approx(40)
    spread = at_share(of, 0.7, policy, seed=2)
    expected = poisson(of, 0.7 * capacity, seed=2)
    assert spread.arrivals == expected.arrivals
    assert capacity_per_s(spread, policy) == capacity, "whatever the arrivals were"


def test_noise_is_seeded_and_unseen() -> None:
    """Policies are told the same; answers vary around what they would have been."""
    quiet, loud = drawn(), noisy(drawn(), 0.5)
    assert loud.arrivals == quiet.arrivals and loud.profile == quiet.profile
    assert loud.truth.noise == 0.5 and noisy(drawn(), 0.5) == loud
    before, after = outputs(dict(quiet.truth.actual)), outputs(dict(loud.truth.actual))
    logs = [math.log(after[key] / before[key]) for key in before if after[key] < 512]
    assert 0.3 < stdev(logs) < 0.6
    other = noisy(dataclasses.replace(drawn(), seed=4), 0.5)
    assert outputs(dict(other.truth.actual)) != after


def test_prompts_follow_noisy_answers() -> None:
    """What a join reads is as long as what was written."""
    for graph in noisy(drawn(), 0.5).truth.actual.values():
        tokens = {f"out:{graph.id}/{s.id}[0]": s.output_tokens for s in graph.stages}
        read = [s for stage in graph.stages for s in stage.prompt if s.key in tokens]
        assert read and all(tokens[s.key] == pytest.approx(s.tokens, abs=1) for s in read)


@pytest.mark.parametrize("factor", [0.7, 1.4])
def test_bias(factor: float) -> None:
    """Calls and answers are believed shorter or longer; loads, and what happens, stay."""
    straight, bent = drawn(), biased(drawn(), factor)
    true, believed = straight.profile.costs["d0"]["A"], bent.profile.costs["d0"]["A"]
    assert believed.load_s == true.load_s
    assert believed.prefill == pytest.approx([factor * each for each in true.prefill])
    assert believed.decode == pytest.approx([factor * each for each in true.decode])
    assert bent.truth.profile == straight.profile
    assert dict(bent.truth.actual) == dict(straight.truth.actual)
    said, now = outputs(straight), outputs(bent)
    assert all(now[key] == pytest.approx(factor * said[key], abs=1) for key in said)


def test_wrong_lengths() -> None:
    """Twice or half of it, alike for a stage of all workflows of a family; the truth stays."""
    straight, wrong = drawn(), wrong_lengths(drawn())
    assert dict(wrong.truth.actual) == dict(straight.truth.actual)
    said, now = outputs(straight), outputs(wrong)
    ratios = {key: now[key] / said[key] for key in said}
    assert {round(ratio, 1) for ratio in ratios.values()} == {0.5, 2.0}
    assert ratios["vote-0/judge1"] == ratios["vote-2/judge1"]


def test_what_did_not_differ_is_kept_true() -> None:
    """A case without drawn truths gets them when its declarations change."""
    changed = biased(case(), 0.7)
    assert outputs(dict(changed.truth.actual)) == outputs(case())
    policy = build("policy", "late-eft")
    assert run_case(changed, policy).makespan_s == pytest.approx(
        run_case(case(), policy).makespan_s, rel=0.2
    )
