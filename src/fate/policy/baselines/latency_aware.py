"""Latency-Aware Orchestration, reconstructed from its abstract: forecasts of what comes.

"Latency-aware orchestration of compound AI workflows", arXiv:2609.03335. Neither text nor code is
public: weights are ours.
"""

from math import inf

from fate.domain.errors import FateError
from fate.domain.plan import Memo, Plan, Prefetch, Search
from fate.domain.snapshot import Snapshot
from fate.policy.base import Lookahead
from fate.policy.kernel.problem import Plain, Weights, plain
from fate.policy.kernel.reference import Orders, appraise, commit
from fate.policy.kernel.reference_plans import rank_order
from fate.policy.kernel.reference_state import Bench, Placement, benches
from fate.policy.serving import names, own_seconds
from fate.policy.visible import visible

#: What the load of an evicted model that will be asked for again counts, and of a loaded one.
EVICTED, REUSED = 0.5, 0.5
#: How far ahead demand for models is counted, in times of the mean load.
WINDOW = 4.0


class LatencyAware:
    """Most delayed path first; finish, and what a load or an eviction is worth to what comes.

    Source: reconstruction from the abstract of arXiv:2609.03335; parameters are ours. Rule: ready
    times of waiting stages are forecast through the graph, and from them each model's share of the
    demand within four mean loads. Calls are taken by the longest path that ends last; each goes
    where its finish + .5 x the demand-weighted loads of the models evicted for it - .5 x the
    demand-weighted load it brings is lowest, under the state the lists leave behind; all is
    decided again until a call starts. An idle device that gets nothing loads the model that is
    wanted first, once that is no more than its load away, if it is nowhere yet. Deviations: the
    estimates are those every policy sees, not a learned predictor; stages are not fused; models
    are evicted least recently used and loaded ahead into free memory only, as for every policy.
    """

    name = "latency-aware"
    eager = False
    inline = True
    lookahead: Lookahead = "all"

    def __init__(
        self, evicted: float = EVICTED, reused: float = REUSED, window: float = WINDOW
    ) -> None:
        if min(evicted, reused, window) < 0.0:
            raise FateError(
                "policy latency-aware: evicted, reused and window must not be negative, not "
                f"{evicted}, {reused} and {window}"
            )
        self._evicted, self._reused, self._window = evicted, reused, window

    def plan(self, snapshot: Snapshot, memo: Memo | None) -> Plan:
        """Build lists for every device, busy ones too, and ask for models ahead of time."""
        del memo
        p = plain(snapshot, Weights(depth=0), lookahead=False)
        ready_s = forecast(snapshot)
        demand = demand_of(snapshot, ready_s, self._window)
        state, orders = benches(p), [list[int]() for _ in range(p.devices)]
        for node in rank_order(p):
            best, chosen = -1, None
            least = inf
            for device in range(p.devices):
                placed = appraise(p, state[device], device, node)
                if placed is None:
                    continue
                score_s = self._score(p, demand, node, device, placed)
                if score_s < least:
                    least, best, chosen = score_s, device, placed
            if chosen is not None:
                commit(p, state[best], node, chosen)
                orders[best].append(node)
        return Plan(
            policy=self.name,
            orders=names(snapshot, orders),
            prefetch=_ahead(snapshot, state, orders, ready_s),
            search=Search(base=self.name),
        )

    def _score(
        self, p: Plain, demand: list[float], node: int, device: int, placed: Placement
    ) -> float:
        """Return finish + lost loads - gained loads [s]."""
        loads = p.load_s[device]
        lost_s = sum(demand[model] * loads[model] for model in placed.gone)
        gained_s = demand[p.model[node]] * placed.terms[1]
        return placed.finish_s + self._evicted * lost_s - self._reused * gained_s


def forecast(snapshot: Snapshot) -> list[float]:
    """Return [N] when each node is expected to be ready: its parents take what they take alone."""
    own_s, after_s = own_seconds(snapshot).tolist(), snapshot.child_after_s.tolist()
    pointers, children = snapshot.child_ptr.tolist(), snapshot.child.tolist()
    ready_s = [max(at_s, snapshot.now_s) for at_s in snapshot.released_at_s.tolist()]
    for node in visible(snapshot).order:
        for edge in range(pointers[node], pointers[node + 1]):
            at_s = ready_s[node] + own_s[node] + after_s[edge]
            ready_s[children[edge]] = max(ready_s[children[edge]], at_s)
    return ready_s


def demand_of(snapshot: Snapshot, ready_s: list[float], window: float = WINDOW) -> list[float]:
    """Return [M] each model's share of the stages that will be ready within the window."""
    loads = snapshot.load_s[snapshot.load_s < inf]
    until_s = snapshot.now_s + window * (float(loads.mean()) if loads.size else 0.0)
    counts = [0] * snapshot.load_s.shape[1]
    for model, at_s in zip(snapshot.model.tolist(), ready_s, strict=True):
        counts[model] += at_s <= until_s
    return [count / max(sum(counts), 1) for count in counts]


def _ahead(
    snapshot: Snapshot, state: list[Bench], orders: Orders, ready_s: list[float]
) -> tuple[Prefetch, ...]:
    """Return the loads to begin now: for the waiting stages that are ready first."""
    free = [device for device in snapshot.idle() if not orders[device]]
    wishes, wanted = list[Prefetch](), set[int]()
    waiting = range(snapshot.frontier, len(ready_s))
    for node in sorted(waiting, key=lambda n: (ready_s[n], n)) if free else ():
        model = int(snapshot.model[node])
        if model in wanted or any(bench.resident[model] for bench in state):
            continue
        near = [
            device
            for device in free
            if snapshot.eligible[node, device]
            and ready_s[node] - snapshot.now_s <= snapshot.load_s[device, model] < inf
        ]
        if near:
            wanted.add(model)
            free.remove(near[0])
            wishes.append(Prefetch(device=near[0], model=model))
    return tuple(wishes)
