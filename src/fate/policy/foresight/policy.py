"""The `foresight` policy: a rolling search over every visible stage, on top of `fate`.

A plan gives each stage a device and a turn and is worth what running it to completion shows, on
estimates only. At every decision:

    1. the incumbent, the plan of the decision before, is continued and valued
    2. when there is enough news, it meets what greedy rules would do with the whole DAG: late EFT,
       min-min, sufferage, idle-affinity, and a search among such rules
    3. when there are nodes that it does not know, the best so far meets itself with the frontier
       as `fate` plans it
    4. when there is news, annealing
    5. perturbations of the best; each stays if it is no worse
    6. stickiness: the incumbent stays unless the gain reaches the margin

News are nodes that the incumbent does not know, and its end, where that is another one than the
decision before foresaw: then calls took longer, or less long, than estimated. The budgets of 2 and
4 go by the share of nodes that are new, or by how far the end has moved; all go by the time there
is (`budget`). With `rules`, `anneal`, `projections` 0 and no `challenge` what is left is the best
of the greedy plans.
"""

from collections.abc import Mapping
from math import inf
from typing import Any, ClassVar, NamedTuple

import msgspec
import numpy as np

from fate.domain.graph import Chunk
from fate.domain.plan import Memo, Plan, Search
from fate.domain.snapshot import Snapshot
from fate.policy.base import Lookahead
from fate.policy.fate.policy import FatePolicy
from fate.policy.foresight.annealing import anneal
from fate.policy.foresight.budget import Budget, Scene, may_ask
from fate.policy.foresight.budget import budget as budget_of
from fate.policy.foresight.construction import GREEDY, Construction
from fate.policy.foresight.options import OBJECTIVES, ForesightOptions, read_options
from fate.policy.greedy import greedy_plan
from fate.policy.kernel.backend import Kernel, open_kernel
from fate.policy.kernel.problem import Weights
from fate.policy.kernel.reference import Orders
from fate.policy.kernel.reference_plans import must_first
from fate.policy.kernel.reference_project import ANY, Aims, Places, seconds_of
from fate.policy.kernel.reference_whole import MOVE_WIDTH
from fate.policy.kernel.whole import Valued, Whole

#: Nodes that are planned for without the compiled kernel; more of them would take a minute. Until
#: it is there, late-EFT says where those go that are ready.
_MOST_REFERENCE = 128
#: An end that moves by less than this share of what is left has not moved; what is left is
#: `_SOON_S` at least.
_STEADY, _SOON_S = 1e-3, 1e-3


class _Candidate(NamedTuple):
    """A plan for all nodes, its value, and where it comes from."""

    value_s: float
    places: Places
    base: str


class ForesightPolicy:
    """Keep a plan for the whole visible DAG and search around it at every decision.

    The module says how; options are those of `ForesightOptions`.
    """

    name = "foresight"
    eager = False
    inline = False
    lookahead: Lookahead = "all"
    objectives: ClassVar[Mapping[str, Mapping[str, float]]] = OBJECTIVES

    def __init__(self, **options: Any) -> None:  # noqa: ANN401 - checked by read_options
        self.options: ForesightOptions = read_options(options)
        self._fate = FatePolicy(**self.options.fate)

    def plan(self, snapshot: Snapshot, memo: Memo | None) -> Plan:
        """Return the plan for every device."""
        if not snapshot.frontier:
            return Plan(policy=self.name, orders=((),) * snapshot.devices, memo=memo)
        kernel = open_kernel(snapshot, Weights(depth=0))
        if _takes_long(snapshot, kernel):
            return msgspec.structs.replace(greedy_plan(snapshot), policy=self.name)
        whole = kernel.whole(self._aims())
        incumbent, fresh, end_s = _continued(snapshot, whole, memo)
        if incumbent is None:
            end_s = _end_s(whole.project(whole.affinity())[0].finish_s)
        share = max(fresh, _news(snapshot, end_s, memo))
        scene = _scene(snapshot, share, end_s)
        budget = budget_of(self.options, scene, kernel.name)
        draw = np.random.default_rng(snapshot.seed)
        start = [incumbent] if incumbent else []
        # Without a budget for rules the greedy plans are all that new nodes get.
        greedy = budget.rules >= len(GREEDY) or (fresh > 0.0 and not self.options.rules)
        if incumbent is None or greedy:
            start += _constructed(whole, Construction(len(snapshot.model), whole, draw), budget)
        best = min(start, key=lambda candidate: candidate.value_s)
        if self.options.challenge and fresh and may_ask(scene):
            best = self._challenged(snapshot, whole, best, incumbent)
        best = _searched(whole, best, budget, draw)
        kept = incumbent is not None and not self._worth_changing(incumbent, best)
        if incumbent is not None and kept:
            best = incumbent
        else:
            end_s = _end_s(whole.project(best.places)[0].finish_s)
        search = Search(
            base=best.base,
            objective_s=best.value_s,
            moves=budget.moves,
            kept=kept,
            backend=kernel.name,
        )
        return self._finish(snapshot, best.places, end_s, search)

    def regrets(self, snapshot: Snapshot, plan: Plan, node: int) -> list[float]:
        """Return [D] seconds of its objective that all else loses with a node on each device.

        The node keeps its turn; that it ends later there itself is not part of it. Nothing where a
        plan is not this policy's, or left the node out, or where that would take long.
        """
        kernel = open_kernel(snapshot, Weights(depth=0))
        chunk = snapshot.chunks[node]
        home = next((d for d, order in enumerate(plan.orders) if chunk in order), None)
        if home is None or _takes_long(snapshot, kernel):
            return []
        whole = kernel.whole(self._aims())
        own, _, _ = _continued(snapshot, whole, plan.memo)
        if own is None:
            return []

        def carried_out(device: int) -> tuple[float, float]:
            devices = [device if n == node else d for n, d in enumerate(own.places.device)]
            projection, value_s = whole.project(Places(devices, own.places.turn))
            return projection.finish_s[node], value_s

        end_s, value_s = carried_out(home)
        usable = (snapshot.eligible[node] > 0) & (snapshot.free_at_s < inf).any(axis=1)
        regrets = [0.0] * snapshot.devices
        for device in np.flatnonzero(usable).tolist():
            there_s, worth_s = carried_out(device)
            if there_s < inf:
                regrets[device] = max((worth_s - value_s) - (there_s - end_s), 0.0)
        return regrets

    def _aims(self) -> Aims:
        return Aims(self.options.mean, self.options.tail)

    def _challenged(
        self, snapshot: Snapshot, whole: Whole, best: _Candidate, incumbent: _Candidate | None
    ) -> _Candidate:
        """Return the better of a plan and the same with the frontier as `fate` plans it.

        The frontier's nodes keep their turns among the others, in the order of `fate`.
        """
        before = _named(snapshot, _ready(snapshot, incumbent.places)) if incumbent else None
        orders = self._fate.plan(snapshot, Memo(orders=before) if before else None).orders
        row = {chunk: node for node, chunk in enumerate(snapshot.chunks)}
        device, turn = list(best.places.device), list(best.places.turn)
        order = sorted(
            [
                (place, d, row[chunk])
                for d, chunks in enumerate(orders)
                for place, chunk in enumerate(chunks)
            ]
        )
        turns = sorted([turn[node] for _, _, node in order])
        for at, (_, d, node) in zip(turns, order, strict=True):
            device[node], turn[node] = d, at
        places = Places(device, turn)
        value_s = whole.project(places)[1]
        return _Candidate(value_s, places, "fate") if value_s < best.value_s else best

    def _worth_changing(self, incumbent: _Candidate, best: _Candidate) -> bool:
        gain_s = incumbent.value_s - best.value_s
        return gain_s >= self.options.margin * seconds_of(incumbent.value_s)

    def _finish(self, snapshot: Snapshot, places: Places, end_s: float, search: Search) -> Plan:
        orders = must_first(snapshot.must_start.tolist(), _ready(snapshot, places))
        placed = [node for node in _in_turn(places) if places.device[node] != ANY]
        memo = Memo(
            nodes=tuple([snapshot.node_names[node] for node in placed]),
            devices=tuple([places.device[node] for node in placed]),
            end_s=end_s,
        )
        orders = _named(snapshot, orders)
        return Plan(policy=self.name, orders=orders, memo=memo, search=search)


def _takes_long(snapshot: Snapshot, kernel: Kernel) -> bool:
    """Whether there are more nodes than plain Python should carry out."""
    return kernel.name == "reference" and len(snapshot.model) > _MOST_REFERENCE


def _scene(snapshot: Snapshot, share: float, end_s: float) -> Scene:
    """Return what budgets depend on, with the share of nodes that is new and the end expected."""
    devices = int((snapshot.free_at_s < inf).any(axis=1).sum())
    nodes, left_s = len(snapshot.model), end_s - snapshot.now_s
    return Scene(nodes, snapshot.frontier, share, devices, left_s)


def _in_turn(places: Places) -> list[int]:
    return sorted(range(len(places.turn)), key=lambda node: (places.turn[node], node))


def _ready(snapshot: Snapshot, places: Places) -> Orders:
    """Return the ready nodes of a plan by device, in turn."""
    orders: Orders = [[] for _ in range(snapshot.devices)]
    for node in _in_turn(places):
        if node < snapshot.frontier and places.device[node] != ANY:
            orders[places.device[node]].append(node)
    return orders


def _named(snapshot: Snapshot, orders: Orders) -> tuple[tuple[Chunk, ...], ...]:
    return tuple(tuple(snapshot.chunks[node] for node in order) for order in orders)


def _end_s(finish_s: list[float]) -> float:
    """Return when the last node of a projection ends."""
    return max([end_s for end_s in finish_s if end_s < inf], default=0.0)


def _news(snapshot: Snapshot, end_s: float, memo: Memo | None) -> float:
    """Return by what share of what is left the end of the incumbent has moved; 1 at most."""
    if memo is None:
        return 1.0
    moved = abs(end_s - memo.end_s) / max(end_s - snapshot.now_s, _SOON_S)
    return min(moved, 1.0) if moved > _STEADY else 0.0


def _continued(
    snapshot: Snapshot, whole: Whole, memo: Memo | None
) -> tuple[_Candidate | None, float, float]:
    """Return the plan of the decision before, the share of nodes it did not know, and its end [s].

    Those, and nodes whose device cannot run them any more, go where they cost least.
    """
    if memo is None or not memo.nodes:
        return None, 1.0, 0.0
    known = {name: at for at, name in enumerate(memo.nodes)}
    found = [known.get(name) for name in snapshot.node_names]
    fresh = found.count(None)
    devices = [ANY if at is None else memo.devices[at] for at in found]
    places = Places(
        [d if d != ANY and snapshot.eligible[node, d] else ANY for node, d in enumerate(devices)],
        [float(len(known) if at is None else at) for at in found],
    )
    projection, value_s = whole.project(places)
    turn = projection.turn if fresh else places.turn
    places = Places(projection.device, turn)
    end_s = _end_s(projection.finish_s)
    return _Candidate(value_s, places, "previous"), fresh / len(found), end_s


def _constructed(whole: Whole, construction: Construction, budget: Budget) -> list[_Candidate]:
    """Return plans for the whole DAG to start from."""
    affinity = whole.affinity()
    greedy = construction.greedy()
    found = [_Candidate(whole.project(affinity)[1], affinity, "idle-affinity")]
    found += [_Candidate(ruled.value_s, ruled.places, name) for name, ruled in greedy.items()]
    if budget.rules:
        best = min(greedy.values(), key=lambda ruled: ruled.value_s)
        built = construction.improve(best, budget.rules)
        found.append(_Candidate(built.value_s, built.places, "rules"))
    return found


def _searched(
    whole: Whole, best: _Candidate, budget: Budget, draw: np.random.Generator
) -> _Candidate:
    """Return what annealing and perturbations make of a plan."""
    if budget.anneal:
        found = anneal(whole, Valued(best.places, best.value_s), budget.anneal, draw)
        best = _Candidate(found.value_s, found.places, best.base)
    if budget.projections:
        moves = draw.integers(0, 1 << 31, (budget.projections, MOVE_WIDTH))
        found = whole.search(best.places, moves)
        best = _Candidate(found.value_s, found.places, best.base)
    return best
