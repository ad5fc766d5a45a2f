"""Graphs that are shown in part, and indexes of prefixes that are stale."""

import dataclasses
from typing import Literal, cast

import msgspec
import numpy as np
import pytest
from tests import graphs

from fate.bench.case import Case, run_case
from fate.bench.guards import check
from fate.bench.hints import Undeclared, without
from fate.bench.workloads.cases import make_case
from fate.bench.workloads.draft import same
from fate.bench.workloads.noise import stale_prefixes
from fate.bench.workloads.rigs import Rig
from fate.domain.messages import ItemDone
from fate.domain.plan import Memo, Plan
from fate.domain.snapshot import Snapshot
from fate.policy.base import Lookahead, Policy
from fate.policy.greedy import greedy_plan
from fate.registry import build


class Probe:
    """Keeps every snapshot it is shown, and plans greedily."""

    name, eager, inline = "probe", False, True

    def __init__(self, lookahead: Lookahead) -> None:
        self.lookahead: Lookahead = lookahead
        self.seen: list[Snapshot] = []

    def plan(self, snapshot: Snapshot, memo: Memo | None) -> Plan:
        """Keep and plan."""
        del memo
        self.seen.append(snapshot)
        return greedy_plan(snapshot)


def case() -> Case:
    """Maps, joins and chains on two devices."""
    cluster = graphs.cluster()
    rig = Rig(cluster=cluster, profile=graphs.profile(cluster))
    return make_case([same(graph) for graph in graphs.mixed()], rig, seed=3)


def first_of(lookahead: Lookahead) -> Snapshot:
    """The first picture of the case with chains in it."""
    probe = Probe(lookahead)
    run_case(case(), probe)
    return next(s for s in probe.seen if len(s.model) > s.frontier + 4)


@pytest.mark.parametrize("lookahead", ["near", "all"])
def test_a_missing_stage_takes_what_follows_with_it(lookahead: Literal["near", "all"]) -> None:
    """Rows, contents and edges of others are as before; paths that lost a stage are shorter."""
    whole = first_of(lookahead)
    names = list(whole.node_names)
    row = names.index("x0/s2")
    part = without(whole, [row])
    gone = set(names) - set(part.node_names)
    assert gone == {name for name in names if name in {"x0/s2", "x0/s3", "x0/s4"}} and len(gone) > 1
    assert part.frontier == whole.frontier and part.contents_now == whole.contents_now
    old = {name: i for i, name in enumerate(names)}
    for new, name in enumerate(part.node_names):
        assert part.first_tokens[new] == whole.first_tokens[old[name]]
        assert (part.prompt[new] == whole.prompt[old[name]]).all()
        content = part.held[part.contents_now + new]
        assert (content == whole.held[whole.contents_now + old[name]]).all()
        assert children(part, new) == children(whole, old[name]) - gone
    tails = {
        name: (part.tail_s[n], whole.tail_s[old[name]]) for n, name in enumerate(part.node_names)
    }
    assert tails["x0/s1"][0] == 0.0 < tails["x0/s1"][1]
    own = tails["x1/s0"][0] - tails["x1/s1"][0]
    assert own > 0, "another chain keeps its path"
    assert all(
        mine == theirs for name, (mine, theirs) in tails.items() if not name.startswith("x0")
    )


def children(snapshot: Snapshot, row: int) -> set[str]:
    """Names of a node's children."""
    edges = range(snapshot.child_ptr[row], snapshot.child_ptr[row + 1])
    return {snapshot.node_names[snapshot.child[edge]] for edge in edges}


def test_tails_are_those_of_the_core() -> None:
    """Of a chain whose end is missing: the seconds of what is left of it."""
    whole = first_of("all")
    names = list(whole.node_names)
    part = without(whole, [names.index("x0/s4")])
    by_name = dict(zip(part.node_names, part.tail_s, strict=True))
    before = dict(zip(names, whole.tail_s, strict=True))
    assert by_name["x0/s3"] == 0.0
    for stage in ("x0/s0", "x0/s1", "x0/s2"):
        lost = before[stage] - by_name[stage]
        assert lost == pytest.approx(before["x0/s3"])


def test_nothing_missing_is_nothing_done() -> None:
    """The very same picture."""
    whole = first_of("near")
    assert without(whole, []) is whole


@pytest.mark.parametrize("name", ["late-eft", "fate", "heft"])
def test_policies_run_on_what_they_see(name: str) -> None:
    """All stages run, in order; with everything declared nothing changes."""
    policy = cast("Policy", build("policy", name))
    blind = Undeclared(policy, 0.4, seed=1)
    assert (blind.name, blind.eager, blind.inline) == (policy.name, policy.eager, policy.inline)
    outcome = run_case(case(), blind)
    check(case(), outcome)
    assert run_case(case(), blind).records == outcome.records
    seeing = run_case(case(), Undeclared(policy, 0.0, seed=1))
    assert seeing.records == run_case(case(), policy).records


def test_the_share_is_what_is_hidden() -> None:
    """Drawn by name: the same stages whenever they are looked at, and about as many as asked."""
    probe = Probe("all")
    run_case(case(), Undeclared(probe, 0.3, seed=1))
    shown = {name for s in probe.seen for name in s.node_names[s.frontier :]}
    everything = Probe("all")
    run_case(case(), everything)
    all_names = {name for s in everything.seen for name in s.node_names[s.frontier :]}
    assert 0.2 < 1 - len(shown) / len(all_names) < 0.8
    never = Probe("all")
    run_case(case(), Undeclared(never, 1.0, seed=1))
    assert all(len(s.model) == s.frontier and not s.child.size for s in never.seen)
    assert all(
        np.all(s.tail_s == 0.0) for s in never.seen if not s.chunks[0].instance.endswith("s4")
    )


@pytest.mark.parametrize("prefix", ["sequences", "blocks"])
def test_stale_prefixes(prefix: str) -> None:
    """Engines find less than is believed, all of it gone at a share of 1; answers are the same."""

    def cached(share: float) -> int:
        of = stale_prefixes(case(), share)
        if prefix == "blocks":
            of = blocks(of)
        events = [e for r in run_case(of, Probe("near")).records for e in r.events]
        done = [event for event in events if isinstance(event, ItemDone)]
        assert len(done) == 36
        return sum(event.cached_tokens for event in done)

    assert cached(0.0) > cached(0.5) > cached(1.0) == 0


def blocks(of: Case) -> Case:
    """The case on devices that cache blocks."""
    devices = [
        msgspec.structs.replace(d, prefix="blocks", cache_tokens=5000) for d in of.cluster.devices
    ]
    cluster = msgspec.structs.replace(of.cluster, devices=tuple(devices))
    return dataclasses.replace(of, cluster=cluster)
