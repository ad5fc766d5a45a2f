"""A lower bound on the makespan of a case: what no schedule, however it decides, can be below.

The larger of two. Paths: see `paths`. Capacity: the largest T for which the linear program below
has no solution; an actual schedule of makespan T would be one, so every schedule takes longer.

    x[j, d]  share of call j that runs on device d; 0 where it cannot end there in time by paths
    y[m, d]  model m is loaded on d                 z[n, d]  piece n of a prompt is computed on d

    each call runs once         sum over d of x[j, d] = 1
    forced loads                x[j, d] <= y[m(j), d]
    ... of enough copies        sum over j of m of work x <= y[m, d] slots (T - begin - tail): what
                                a device does for a model lies between its load and the end
    forced prefill              x[j, d] - x[maker(n), d] <= z[n, d] for j that use n: once on each
                                device, unless n was generated there
    ... in enough places        sum over j that use n of work x + prefill z <= (z[n, d] +
                                x[maker(n), d]) slots (T - begin - tail)
    slots of a device           sum of work x + load y + unload (y - 1) + prefill z <= slots T
    ... in parts of the run     sum of work x of calls that begin after h and have q to go
                                <= slots (T - h - q), for several h and q

Work is that of the best state (`paths`), so what is paid more than once, or for gathering, comes
on top. Loads take slots unless they are prefetches; unloads count where no two models fit together.
KV states that move over links make a piece cost no more than its bytes.
"""

from dataclasses import dataclass, field
from math import inf
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import numpy as np

from fate.bench.case import Case
from fate.bench.paths import Paths, paths
from fate.bench.pricing import Priced, priced

if TYPE_CHECKING:
    from ortools.linear_solver.python import model_builder

#: Quantiles of beginnings and of tails at which windows are cut.
_CUTS = (0.0, 0.25, 0.5, 0.75)
#: Bisection stops when the bound is known to this share of itself.
_PRECISION = 0.005
#: What is missing counts only above this share of T: the solver's tolerance is far below it.
_TOLERANCE = 1e-5
#: Pieces that take less than this share of T are left out: the program stays small.
_PIECE = 5e-4

Term: TypeAlias = tuple[Any, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """No run of the case takes less than `seconds`, from the first arrival on.

    `paths_s` and `capacity_s` are the two parts, the second 0 where it does not exceed the first.
    `plain_s` is the larger of the longest path and of total work over all slots when every cost of
    the state is left out, for comparison.
    """

    paths_s: float
    capacity_s: float
    plain_s: float

    @property
    def seconds(self) -> float:
        """The bound."""
        return max(self.paths_s, self.capacity_s)


def lower_bound(case: Case, *, prefetch: bool = False) -> Bound:
    """Return a lower bound on the makespan; seconds of planning come on top and are not counted.

    Args:
        case: noise is part of it; where attempts can fail or loads are drawn only paths count.
        prefetch: models may be loaded before a call wants them, beside running calls.
    """
    p = priced(case)
    if case.truth.failure_rate or case.truth.refusal_rate or not p.nodes:
        return Bound(paths_s=0.0, capacity_s=0.0, plain_s=0.0)
    if case.truth.noise:
        p = p.without_loads()
    found = paths(p, prefetch=prefetch)
    plain_s = max(_plain_path(p, found), _plain_capacity(p, found))
    capacity_s = _largest_infeasible(p, found, prefetch)
    return Bound(paths_s=found.longest_s, capacity_s=capacity_s, plain_s=plain_s)


def quick_bound(case: Case) -> float:
    """Return a lower bound that takes no linear program: for every run of every suite [s].

    The larger of the longest path and of all work over all slots, loads ahead allowed.
    """
    p = priced(case)
    if case.truth.failure_rate or case.truth.refusal_rate or not p.nodes:
        return 0.0
    if case.truth.noise:
        p = p.without_loads()
    found = paths(p, prefetch=True)
    return max(found.longest_s, _plain_path(p, found), _plain_capacity(p, found))


def _plain_path(p: Priced, found: Paths) -> float:
    ends = list[float]()
    for j, node in enumerate(p.nodes):
        before = sorted(ends[parent] for parent in node.parents)
        needed = min(node.needed, len(before))
        ready_s = before[needed - 1] if needed else 0.0
        ends.append(max(ready_s, node.arrival_s - found.start_s) + min(found.work[j]))
    needed = [end for end, node in zip(ends, p.nodes, strict=True) if not node.optional]
    return max(needed, default=0.0)


def _plain_capacity(p: Priced, found: Paths) -> float:
    slots = sum(device.slots for device in p.case.cluster.devices)
    return sum(min(found.work[j]) for j in _counted(p)) / slots


def _counted(p: Priced) -> list[int]:
    """Return the calls that run in every schedule."""
    return [j for j, node in enumerate(p.nodes) if node.kind == "call" and not node.optional]


def _largest_infeasible(p: Priced, found: Paths, prefetch: bool) -> float:
    """Return the largest T that is proved to be too short, 0 if none is that paths allow."""
    if not _counted(p):
        return 0.0
    low, high, guess = 0.0, inf, max(found.longest_s, 1e-6)
    while high - low > _PRECISION * low:
        lacking_s = _Program(p, found, guess, prefetch).lacking_seconds()
        step_s = (high - low) / 2.0 if high < inf else guess / 2.0
        if lacking_s > _TOLERANCE * guess:
            low = guess
            if lacking_s < inf:  # so much more is enough, most often, and hardly less is
                step_s = (1.0 - _PRECISION) * lacking_s
        elif guess <= found.longest_s:
            return 0.0
        else:
            high, step_s = guess, (guess - low) / 2.0
        guess = low + max(step_s, _PRECISION * low)
        if guess >= high:
            guess = (low + high) / 2.0
    return low


@dataclass(slots=True)
class _Program:
    """The linear program at one T: how many seconds a slot lacks at the least."""

    p: Priced
    found: Paths
    limit_s: float
    prefetch: bool
    model: "model_builder.Model" = field(init=False)
    weigh: Any = field(init=False)
    lacking: Any = field(init=False)
    x: dict[tuple[int, int], Any] = field(default_factory=dict[tuple[int, int], Any])
    y: dict[tuple[int, int], Any] = field(default_factory=dict[tuple[int, int], Any])

    def lacking_seconds(self) -> float:
        """Return how many seconds each slot lacks at the least; inf where a call has no place."""
        from ortools.linear_solver.python import model_builder

        self.weigh = cast("Any", model_builder.LinearExpr).weighted_sum  # its types: partly known
        self.model = model_builder.Model()
        self.lacking = self.model.new_num_var(0.0, inf, "")
        for j in _counted(self.p):
            places = [d for d in self.p.devices if self._in_time(j, d)]
            if not places:
                return inf
            for d in places:
                self.x[j, d] = self.model.new_num_var(0.0, 1.0, "")
            self._at_least([(self.x[j, d], 1.0) for d in places], 1.0)
        for d in self.p.devices:
            terms = self._loads(d) + self._pieces(d) + self._work(d, _counted(self.p))
            self._slots_hold(d, terms, self.limit_s)
            self._windows(d)
        self.model.minimize(self.lacking)
        solver = model_builder.Solver("glop")
        solver.solve(self.model)
        return float(solver.objective_value)

    def _in_time(self, j: int, d: int) -> bool:
        return self.found.ends[j][d] + self.found.tails[j][d] <= self.limit_s * (1.0 + 1e-9)

    def _work(self, d: int, calls: list[int]) -> list[Term]:
        return [(self.x[j, d], self.found.work[j][d]) for j in calls if (j, d) in self.x]

    def _loads(self, d: int) -> list[Term]:
        """A device loads the models of its calls, and works on them only after that."""
        models, slots, terms = self.p.case.cluster.models, self._slots(d), list[Term]()
        alone = self._holds_one(d)
        for m in range(len(models)):
            calls = [j for j in _counted(self.p) if self.p.nodes[j].model == m]
            mine, load_s = self._work(d, calls), self.p.load_seconds(m, d)
            if not mine:
                continue
            y = self.y[m, d] = self.model.new_num_var(0.0, 1.0, "")
            for variable, _ in mine:
                self._at_least([(y, 1.0), (variable, -1.0)], 0.0)
            left_s = self._left(d, [j for j in calls if (j, d) in self.x])
            self._at_least([(y, left_s), *[(v, -w) for v, w in mine], (self.lacking, slots)], 0.0)
            unload_s = self._least_unload(d) if alone else 0.0
            if not self.prefetch:
                terms.append((y, load_s + unload_s))
        return terms

    def _left(self, d: int, calls: list[int]) -> float:
        """Return the slot-seconds in which a device can work on some calls."""
        begin_s = min(self.found.begins(j, d) for j in calls)
        tail_s = min(self.found.tails[j][d] for j in calls)
        return self._slots(d) * (self.limit_s - begin_s - tail_s)

    def _holds_one(self, d: int) -> bool:
        device, models = self.p.case.cluster.devices[d], self.p.case.cluster.models
        least = sorted(model.footprint_bytes for model in models)[:2]
        return device.managed and len(least) == 2 and sum(least) > device.memory_bytes

    def _least_unload(self, d: int) -> float:
        return min(self.p.unload_seconds(m, d) for m in range(len(self.p.case.cluster.models)))

    def _pieces(self, d: int) -> list[Term]:
        """A device computes the pieces of its prompts, unless the piece was generated there."""
        terms = list[Term]()
        if self.p.case.cluster.devices[d].prefix == "none":
            return terms
        counted = set(_counted(self.p))
        for piece in self.found.shared.pieces:
            users = [j for j in piece.users if (j, d) in self.x]
            seconds = min([self.found.piece_seconds(piece, j, d) for j in users], default=0.0)
            known = piece.maker < 0 or piece.maker in counted
            if seconds < _PIECE * self.limit_s or not known:
                continue
            z = self.model.new_num_var(0.0, 1.0, "")
            maker = [(v, 1.0)] if (v := self.x.get((piece.maker, d))) is not None else []
            for j in users:
                self._at_least([(z, 1.0), (self.x[j, d], -1.0), *maker], 0.0)
            left_s, mine = self._left(d, users), self._work(d, users)
            there = [(v, left_s) for v, _ in maker]
            spent = [(v, -w) for v, w in mine]
            self._at_least(
                [(z, left_s - seconds), *there, *spent, (self.lacking, self._slots(d))], 0.0
            )
            terms.append((z, seconds))
        return terms

    def _windows(self, d: int) -> None:
        """What begins late and has far to go shares what is left in between."""
        calls = [j for j in _counted(self.p) if (j, d) in self.x]
        if not calls:
            return
        begins = {j: self.found.begins(j, d) for j in calls}
        tails = {j: self.found.tails[j][d] for j in calls}
        for head_s in np.unique(np.quantile(list(begins.values()), _CUTS)).tolist():
            for tail_s in np.unique(np.quantile(list(tails.values()), _CUTS)).tolist():
                inside = [j for j in calls if begins[j] >= head_s and tails[j] >= tail_s]
                window_s = self.limit_s - head_s - tail_s
                if inside and head_s + tail_s > 0.0:
                    self._slots_hold(d, self._work(d, inside), window_s)

    def _slots(self, d: int) -> int:
        return self.p.case.cluster.devices[d].slots

    def _slots_hold(self, d: int, terms: list[Term], seconds: float) -> None:
        spare = self._least_unload(d) if self._holds_one(d) and not self.prefetch else 0.0
        slots = self._slots(d)
        negative = [(variable, -weight) for variable, weight in terms]
        self._at_least([*negative, (self.lacking, slots)], -slots * seconds - spare)

    def _at_least(self, terms: list[Term], bound: float) -> None:
        """Add a constraint: the weighted sum is no less than `bound`."""
        total = self.weigh([variable for variable, _ in terms], [weight for _, weight in terms])
        self.model.add(total >= bound)
