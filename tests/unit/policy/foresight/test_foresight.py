"""The rolling search: what it starts from, what it keeps, and that it foresees what happens."""

from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace
from tests.strategies import Box, Kind, Node, make_snapshot

from fate.bench.case import PATIENT, Case, run_case
from fate.cost.profile import CallCosts, Profile
from fate.domain.catalog import Cluster, Device, Link, Model
from fate.domain.errors import FateError
from fate.domain.graph import Graph, Segment, Stage
from fate.domain.messages import Call
from fate.domain.plan import Memo, Plan
from fate.domain.snapshot import Snapshot
from fate.drivers.world import Truth
from fate.policy.base import Lookahead
from fate.policy.foresight.annealing import anneal
from fate.policy.foresight.budget import Budget, Scene, budget, may_ask
from fate.policy.foresight.construction import Construction
from fate.policy.foresight.options import ForesightOptions
from fate.policy.foresight.policy import ForesightPolicy
from fate.policy.greedy import greedy_plan
from fate.policy.kernel.backend import ReferenceKernel, open_kernel
from fate.policy.kernel.problem import Weights
from fate.policy.kernel.reference_project import Aims, Places
from fate.policy.kernel.reference_rolled import LATE_EFT
from fate.policy.kernel.whole import Valued
from fate.registry import build


def orders(snapshot: Snapshot, memo: Memo | None = None, **options: Any) -> list[list[str]]:
    """Plan and return the instances of each device's list."""
    plan = ForesightPolicy(**options).plan(snapshot, memo)
    return [[chunk.instance for chunk in order] for order in plan.orders]


def test_a_short_call_yields_to_the_one_a_long_path_hangs_from() -> None:
    """One device: three children wait behind the second call, on devices that are free then."""
    waiting = [Node(output=90.0, eligible=(0, 1)), Node(output=90.0, eligible=(0, 1))]
    boxes = [Box(resident={0: ()}), Box(resident={0: ()})]
    snapshot = make_snapshot(
        [Node(output=90.0, eligible=(1, 0)), Node(output=10.0, eligible=(1, 0), children=(2, 3))],
        boxes,
        [Kind()],
        waiting,
    )
    assert orders(snapshot)[0][0] == "w0/s1001"


def test_the_regret_of_a_device_is_what_all_else_loses_there() -> None:
    """By hand: two seconds on d1, before the long call that only d1 can run."""
    boxes = [Box(resident={0: ()}), Box(resident={0: ()})]
    snapshot = make_snapshot([Node(), Node(output=90.0, eligible=(0, 1))], boxes, [Kind()])
    first, second = snapshot.chunks
    memo = Memo(nodes=("w0/s1000", "w0/s1001"), devices=(0, 1))
    plan = Plan(policy="foresight", orders=((first,), (second,)), memo=memo)
    policy = ForesightPolicy(mean=0.0)
    assert policy.regrets(snapshot, plan, 0) == pytest.approx([0.0, 2.0])
    assert policy.regrets(snapshot, plan, 1) == [0.0, 0.0]
    assert policy.regrets(snapshot, replace(plan, memo=None), 0) == []
    assert policy.regrets(snapshot, replace(plan, orders=((), (second,))), 0) == []


def test_the_plan_before_is_remembered_by_name_and_kept_unless_the_gain_is_large() -> None:
    """With a margin of all of it nothing can gain enough."""
    snapshot = make_snapshot(
        [Node(), Node()], [Box(resident={0: ()}), Box(resident={0: ()})], [Kind()]
    )
    memo = Memo(nodes=("w0/s1000", "w0/s1001"), devices=(0, 0))
    assert orders(snapshot, memo, margin=1.0) == [["w0/s1000", "w0/s1001"], []]
    spread = orders(snapshot, memo)
    assert sorted(len(order) for order in spread) == [1, 1]


def test_chunks_over_their_wait_bound_lead_their_lists() -> None:
    """Whatever they are worth."""
    ready = [Node(tail_s=50.0), Node(tail_s=90.0), Node(must_start=True)]
    snapshot = make_snapshot(ready, [Box(resident={0: ()})], [Kind()])
    assert orders(snapshot)[0][0] == "w0/s1002"


def test_without_a_budget_it_is_the_best_of_the_greedy_plans() -> None:
    """No perturbation is tried and `fate` is not asked."""
    snapshot = make_snapshot([Node(), Node(model=1)], [Box(), Box()], [Kind(), Kind()])
    plan = ForesightPolicy(rules=0, anneal=0, projections=0, challenge=False).plan(snapshot, None)
    assert plan.search.moves == 0
    assert plan.search.base in {"late-eft", "idle-affinity", "min-min", "sufferage"}
    assert sum(len(order) for order in plan.orders) == 2


def test_without_a_budget_arrivals_get_the_best_of_the_greedy_plans_too() -> None:
    """Beside a plan that is remembered; with a budget for rules they are searched instead."""
    nodes = [Node(output=output) for output in (1.0, 100.0, 100.0, 200.0)]  # the longest first
    devices, kinds = [Box(), Box()], [Kind()]
    policy = ForesightPolicy(rules=0, anneal=0, projections=0, challenge=False)
    memo = policy.plan(make_snapshot(nodes[:1], devices, kinds), None).memo
    snapshot = make_snapshot(nodes, devices, kinds)
    best_s = policy.plan(snapshot, None).search.objective_s
    assert policy.plan(snapshot, memo).search.objective_s <= best_s


def test_the_same_snapshot_gives_the_same_plan() -> None:
    """Its only randomness is the snapshot's seed."""
    snapshot = make_snapshot([Node(), Node(model=1), Node()], [Box(), Box()], [Kind(), Kind()])
    first = ForesightPolicy().plan(snapshot, None)
    assert ForesightPolicy().plan(snapshot, None) == first


def test_nodes_that_are_new_are_searched_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """All are new at first, none is when the plan is remembered."""
    monkeypatch.setattr("fate.policy.foresight.budget._PARTS", {})  # whichever kernel plans
    snapshot = make_snapshot([Node(), Node(model=1), Node()], [Box(), Box()], [Kind(), Kind()])
    policy = ForesightPolicy(rules=3, anneal=400, projections=7)
    plan = policy.plan(snapshot, None)
    assert plan.search.moves == 3 + 1_200 + 7
    assert policy.plan(snapshot, plan.memo).search.moves == 7


def test_a_plan_whose_end_has_moved_is_searched_in_part(monkeypatch: pytest.MonkeyPatch) -> None:
    """It was to end later by a tenth of what is left: as if one node in ten were new."""
    monkeypatch.setattr("fate.policy.foresight.budget._PARTS", {})
    snapshot = make_snapshot([Node(), Node(model=1), Node()], [Box(), Box()], [Kind(), Kind()])
    policy = ForesightPolicy(rules=0, anneal=400, projections=7, challenge=False)
    memo = policy.plan(snapshot, None).memo
    assert memo is not None
    left_s = memo.end_s - snapshot.now_s
    late = replace(memo, end_s=memo.end_s + 0.1 * left_s)
    assert policy.plan(snapshot, late).search.moves == pytest.approx(7 + 0.1 * 1_200, abs=1)
    steady = replace(memo, end_s=memo.end_s - 1e-4 * left_s)
    assert policy.plan(snapshot, steady).search.moves == 7


def test_searching_takes_a_share_of_the_time_there_is() -> None:
    """By hand: 3 % of what two devices work in a second is 60 ms, a projection takes 40 us.

    New nodes have that for rules of half a millisecond each (a fifth) and annealing, every decision
    a fiftieth of it (twice the mean of a hundred). Where an hour is left the options decide.
    """
    options = ForesightOptions()
    new = Scene(nodes=100, ready=60, share=1.0, devices=2, left_s=1.0)
    assert budget(options, new, "compiled") == Budget(rules=24, anneal=1_200, projections=30)
    assert budget(options, new, "reference") == Budget(rules=0, anneal=4, projections=3)
    known = new._replace(share=0.1)
    assert budget(options, known, "compiled") == Budget(rules=2, anneal=120, projections=30)
    hour = new._replace(left_s=3_600.0)
    assert budget(options, hour, "compiled") == Budget(rules=160, anneal=24_000, projections=100)
    assert budget(options, new._replace(left_s=-1.0), "compiled").moves == 0
    # 2 ms, and 60 x 60 pairs on two devices: 6.3 ms of 60
    assert may_ask(new) and not may_ask(known)


def test_large_graphs_wait_for_the_compiled_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    """A plan in plain Python would take a minute: meanwhile it is late-EFT's."""
    monkeypatch.setattr("fate.policy.foresight.policy._MOST_REFERENCE", 1)
    monkeypatch.setattr("fate.policy.kernel.backend._Active.kernel", ReferenceKernel)
    snapshot = make_snapshot([Node(), Node(model=1)], [Box(), Box()], [Kind(), Kind()])
    plan = ForesightPolicy().plan(snapshot, None)
    assert (plan.policy, plan.orders) == ("foresight", greedy_plan(snapshot).orders)
    assert plan.search.moves == 0 and plan.memo is None
    memo = Memo(nodes=("w0/s1000", "w0/s1001"), devices=(0, 1))
    assert ForesightPolicy().regrets(snapshot, replace(plan, memo=memo), 0) == []


def test_annealing_never_loses_and_tells_what_its_plan_is_worth() -> None:
    """Both calls on one device to begin with, and the other one idle."""
    nodes = [Node(output=90.0, eligible=(0, 1, 2)), Node(output=90.0, eligible=(0, 1, 2))]
    boxes = [Box(resident={0: ()}), Box(resident={0: ()}), Box(resident={0: ()})]
    snapshot = make_snapshot(nodes, boxes, [Kind()])
    whole = open_kernel(snapshot, Weights(depth=0)).whole(Aims(0.0, 0.0))
    start = Places([0, 0], [0.0, 1.0])
    warm = Valued(start, whole.project(start)[1])
    found = anneal(whole, warm, 60, np.random.default_rng(0))
    assert anneal(whole, warm, 0, np.random.default_rng(0)) == warm
    assert found.value_s == whole.project(found.places)[1] < whole.project(start)[1]
    assert len(set(found.places.device)) == 2


def test_rules_near_the_best_one_are_no_worse_and_worth_what_is_told() -> None:
    """Sixty rules beside the three of others, on a DAG of two diamonds."""
    snapshot = first_snapshot(diamond_case())
    whole = open_kernel(snapshot, Weights(depth=0)).whole(Aims(0.3, 0.0))
    construction = Construction(len(snapshot.model), whole, np.random.default_rng(0))
    greedy = construction.greedy()
    best = min(greedy.values(), key=lambda ruled: ruled.value_s)
    assert best.value_s == whole.project(best.places)[1]
    few, many = construction.improve(best, 10), construction.improve(best, 60)
    assert many.value_s == whole.project(many.places)[1] <= few.value_s <= best.value_s


@pytest.mark.parametrize(
    ("option", "value"), [("projections", -1), ("anneal", -1), ("mean", "much"), ("speed", 1.0)]
)
def test_bad_options_are_told(option: str, value: Any) -> None:
    """Unknown, of the wrong type, or negative."""
    with pytest.raises(FateError, match="policy foresight"):
        ForesightPolicy(**{option: value})


class Watched:
    """A policy that keeps what it was shown and what it expected."""

    eager = False
    inline = True
    lookahead: Lookahead = "all"

    def __init__(self, policy: ForesightPolicy) -> None:
        self.name, self.policy = policy.name, policy
        self.ends_s: list[float] = []

    def plan(self, snapshot: Snapshot, memo: Memo | None) -> Plan:
        """Plan, and note when the last stage is expected to end."""
        plan = self.policy.plan(snapshot, memo)
        self.ends_s.append(snapshot.now_s + plan.search.objective_s)
        return plan


def diamond_case() -> Case:
    """Two diamonds of two models on two devices with links, caches of blocks and whole tokens."""
    devices = tuple(
        Device(id=f"d{d}", engine="fake", memory_bytes=100, prefix="blocks", cache_tokens=900)
        for d in range(2)
    )
    models = (Model(id="A", weight_bytes=70), Model(id="B", weight_bytes=60))
    links = tuple(
        Link(source=a, target=b, bytes_per_s=100.0, latency_s=0.5)
        for a, b in (("d0", "d1"), ("d1", "d0"))
    )
    costs = CallCosts(load_s=8.0, unload_s=0.5, prefill=(0.0, 0.01, 0.0), decode=(0.0, 0.1, 0.0))
    profile = Profile(
        costs={d.id: {m.id: costs for m in models} for d in devices}, source="declared"
    )

    def stage(name: str, model: str, tokens: int, *parents: str) -> Stage:
        prompt = (Segment(f"sys-{model}", 300), Segment(f"own-{name}", tokens))
        return Stage(
            id=name, kind="llm", parents=parents, model=model, prompt=prompt,
            output_tokens=20.0 + tokens // 10, output_bytes=150,
        )  # fmt: skip

    graphs = [
        Graph(
            id=name,
            stages=(
                stage(f"a{name}", "A", 40),
                stage(f"b{name}", "B", 160, f"a{name}"),
                stage(f"c{name}", "A", 80, f"a{name}"),
                stage(f"d{name}", "B", 120, f"b{name}", f"c{name}"),
            ),
        )
        for name in ("v", "w")
    ]
    return Case(
        arrivals=tuple((0.0, graph) for graph in graphs),
        cluster=Cluster(devices=devices, models=models, links=links),
        profile=profile,
        truth=Truth(profile=profile),
        seed=3,
        options=PATIENT,
    )


def test_what_it_expects_is_what_happens() -> None:
    """Estimates are exact and nothing is changed: every decision foresees the same end."""
    watched = Watched(ForesightPolicy(mean=0.0, projections=0, challenge=False, margin=1.0))
    outcome = run_case(diamond_case(), watched)
    assert outcome.status == "ok"
    assert len(watched.ends_s) > 3
    assert watched.ends_s == pytest.approx([outcome.makespan_s] * len(watched.ends_s), rel=1e-9)


def test_searching_never_ends_later_than_not_searching() -> None:
    """On exact estimates each change is a gain that stays."""
    plain = run_case(diamond_case(), ForesightPolicy(mean=0.0, projections=0, challenge=False))
    found = run_case(diamond_case(), ForesightPolicy(mean=0.0, projections=60))
    assert found.makespan_s <= plain.makespan_s + 1e-9


def first_snapshot(case: Case) -> Snapshot:
    """Return what a policy that sees everything is shown first."""
    shown: list[Snapshot] = []

    class First(Watched):
        def plan(self, snapshot: Snapshot, memo: Memo | None) -> Plan:
            shown.append(snapshot)
            return super().plan(snapshot, memo)

    run_case(case, First(ForesightPolicy(rules=0, anneal=0, projections=0)))
    return shown[0]


def test_a_rule_does_in_the_projection_what_it_does_in_the_simulator() -> None:
    """Late EFT over the first snapshot, and the baseline of that name."""
    snapshot = first_snapshot(diamond_case())
    whole = open_kernel(snapshot, Weights(depth=0)).whole(Aims())
    rolled = whole.rolled(LATE_EFT)
    done = run_case(diamond_case(), build("policy", "late-eft"))
    where = dict(zip(snapshot.node_names, rolled.device, strict=True))
    calls = {
        command.chunk.instance: int(command.device[1:])
        for record in done.records
        for command in record.commands
        if isinstance(command, Call)
    }
    assert where == calls
