"""What must hold of every registered policy in a simulated run: no foreknowledge, no favourites."""

from collections.abc import Iterable

import msgspec
import pytest
from tests.graphs import chain, cluster, llm, map_reduce, profile

from fate.bench.case import Case, run_case
from fate.bench.guards import check
from fate.bench.policies import split_options
from fate.cost.profile import Profile
from fate.domain.catalog import Cluster, Link
from fate.domain.graph import Graph, Stage
from fate.domain.messages import Call, Event, Planned, Record
from fate.domain.plan import Memo, Plan
from fate.domain.snapshot import Snapshot
from fate.drivers.setup import Outcome
from fate.drivers.world import Truth
from fate.policy.base import Lookahead, Policy
from fate.policy.baselines.greedy import LateEft
from fate.registry import BUILTIN, build

#: Every policy; those that search, with a small budget.
POLICIES = [
    {"fate": "fate?moves=40", "foresight": "foresight?projections=4&rules=20"}.get(name, name)
    for name in sorted(BUILTIN["policy"])
]
every_policy = pytest.mark.parametrize("name", POLICIES)


def make(name: str) -> Policy:
    """Return a policy by name, on the plain kernel."""
    plain, options = split_options(name)
    policy: Policy = build("policy", plain, **options)
    return policy


def works() -> list[Graph]:
    """Chains out of phase, a map-reduce, and a join whose parents leave something to gather."""
    join = [
        *[
            msgspec.structs.replace(llm("j", f"p{k}", "ABC"[k]), output_bytes=10**6)
            for k in range(3)
        ],
        llm("j", "end", "A", ["p0", "p1", "p2"]),
        llm("j", "last", "B", ["end"]),
    ]
    chains = [chain(f"x{k}", order) for k, order in enumerate(("ABCA", "BCAB"))]
    return [*chains, map_reduce("m", 3), Graph(id="j", stages=tuple(join))]


def a_case(on: Cluster, known: Profile, truth: Truth | None = None) -> Case:
    """Everything arrives at once, but the last, which comes a second later."""
    *early, late = works()
    return Case(
        arrivals=(*((0.0, graph) for graph in early), (1.0, late)),
        cluster=on,
        profile=known,
        truth=truth or Truth(profile=known),
        seed=3,
    )


def linked() -> Cluster:
    """Three devices that hold two models each, with links."""
    return cluster(devices=3, memory_mib=100, link_bytes_per_s=4e6)


def longer_ends(graphs: Iterable[Graph], factor: float) -> dict[str, Graph]:
    """The same workflows, but that the answers nobody waits for are longer: all else is equal."""

    def stage(of: Graph, one: Stage) -> Stage:
        last = not any(one.id in other.parents for other in of.stages)
        if not last or one.kind != "llm":
            return one
        return msgspec.structs.replace(
            one, output_tokens=one.output_tokens * factor, max_tokens=4 * one.max_tokens
        )

    return {
        graph.id: msgspec.structs.replace(
            graph, stages=tuple(stage(graph, one) for one in graph.stages)
        )
        for graph in graphs
    }


def compared(one: Outcome, other: Outcome) -> int:
    """Check that two logs decide alike until the first event that differs; return how far."""
    for number, (left, right) in enumerate(zip(one.records, other.records, strict=False)):
        if (left.at_s, happened(left)) != (right.at_s, happened(right)):
            return number
        assert planned(left) == planned(right), f"another plan at {left.at_s} s"
        assert left.commands == right.commands, f"another decision at {left.at_s} s"
    return len(one.records)


def happened(record: Record) -> list[Event]:
    """What the world did: everything but plans, which are decisions."""
    return [event for event in record.events if not isinstance(event, Planned)]


def planned(record: Record) -> list[Plan]:
    """The plans of a step."""
    return [event.plan for event in record.events if isinstance(event, Planned)]


def truths(known: Profile) -> list[Truth]:
    """Worlds that all look like the same estimates before anything has been measured."""
    slow = {
        device: {
            model: msgspec.structs.replace(costs, load_s=2.0 * costs.load_s)
            for model, costs in row.items()
        }
        for device, row in known.costs.items()
    }
    return [
        Truth(profile=known, actual=longer_ends(works(), 3.0)),
        Truth(profile=known, noise=0.5),
        Truth(profile=known, length_noise=0.5),
        Truth(profile=Profile(costs=slow, source="declared")),
    ]


@every_policy
def test_policies_know_nothing_of_the_truth_before_it_happens(name: str) -> None:
    """Same estimates, different truths: equal decisions up to the first event that differs."""
    on, known = linked(), profile(linked())
    base = run_case(a_case(on, known), make(name))
    reached = [
        compared(base, run_case(a_case(on, known, truth), make(name))) for truth in truths(known)
    ]
    assert min(reached) > 2, "nothing was compared"
    assert reached[0] > 10, "the workflows differ at their ends only"


def test_a_policy_that_peeks_is_caught() -> None:
    """The comparison can fail: a policy that knows the truth puts long answers first."""

    class Peeking:
        name, eager, inline = "peeking", False, True
        lookahead: Lookahead = "near"

        def __init__(self, truth: Truth) -> None:
            self.tokens = {
                graph.instance(stage.id): stage.output_tokens
                for graph in truth.actual.values()
                for stage in graph.stages
            }

        def plan(self, snapshot: Snapshot, memo: Memo | None) -> Plan:
            plan = LateEft().plan(snapshot, memo)
            if max(self.tokens.values(), default=0.0) < 50.0:
                return plan
            return msgspec.structs.replace(plan, orders=tuple(reversed(plan.orders)))

    on, known = linked(), profile(linked())
    short = Truth(profile=known, actual=longer_ends(works(), 1.0))
    long = Truth(profile=known, actual=longer_ends(works(), 3.0))
    outcomes = [run_case(a_case(on, known, truth), Peeking(truth)) for truth in (short, long)]
    with pytest.raises(AssertionError, match="another plan"):
        compared(*outcomes)


def calls(outcome: Outcome) -> list[tuple[float, str, str]]:
    """When each call began, what it is, and where."""
    return [
        (record.at_s, str(command.chunk), command.device)
        for record in outcome.records
        for command in record.commands
        if isinstance(command, Call)
    ]


@pytest.mark.parametrize(
    "name", [name for name in sorted(BUILTIN["policy"]) if f"{name}-state" in BUILTIN["policy"]]
)
def test_without_costs_of_the_state_there_is_nothing_to_see(name: str) -> None:
    """All models are there from the start, no caches, no links: the state-aware twin acts alike.

    No two devices are equal, so that no rounding decides.
    """
    on = cluster(devices=3)
    devices = tuple(
        msgspec.structs.replace(d, prefix="none", sequences=0, managed=False) for d in on.devices
    )
    on = msgspec.structs.replace(on, devices=devices)
    costs = {
        device.id: profile(on, factor).costs[device.id]
        for device, factor in zip(on.devices, (1.0, 1.17, 1.43), strict=True)
    }
    case = a_case(on, Profile(costs=costs, source="declared"))
    assert calls(run_case(case, make(name))) == calls(run_case(case, make(f"{name}-state")))


def renamed(on: Cluster) -> Cluster:
    """The same devices under other names, in the opposite order; all of them are equal."""
    names = {device.id: f"z{9 - k}" for k, device in enumerate(on.devices)}
    return msgspec.structs.replace(
        on,
        devices=tuple(
            msgspec.structs.replace(device, id=names[device.id]) for device in reversed(on.devices)
        ),
        links=tuple(
            Link(
                source=names[link.source],
                target=names[link.target],
                bytes_per_s=link.bytes_per_s,
                latency_s=link.latency_s,
            )
            for link in on.links
        ),
    )


@every_policy
def test_equal_devices_may_swap_their_names(name: str) -> None:
    """A makespan does not depend on what devices are called; guards hold on the way."""
    on, other = linked(), renamed(linked())
    one = run_case(a_case(on, profile(on)), make(name))
    two = run_case(a_case(other, profile(other)), make(name))
    check(a_case(on, profile(on)), one)
    assert two.makespan_s == pytest.approx(one.makespan_s, rel=1e-12)
