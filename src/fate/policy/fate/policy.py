"""The `fate` policy: plans over the ready frontier that see the state each placement leaves.

Layers, each replacing the plan before it only where the exact replay values it strictly lower:

    1. greedy plans (late-EFT, min-min, idle-affinity) and the previous plan    `candidates`
    2. local search on J, with the horizon's regret and the shard limit         `kernel`
    3. CP-SAT, on small frontiers and where shards or memory couple stages      `cpsat`
    4. stickiness: the previous plan stays unless the gain passes the margin

Progress: while nothing runs every device is idle, and a plan leaves no call out that can run
somewhere, so the head of some list starts. Otherwise a device may wait on purpose.
"""

import dataclasses
from math import inf
from typing import Any, NamedTuple

import numpy as np

from fate.domain.plan import Memo, Plan, Search
from fate.domain.snapshot import Snapshot
from fate.policy.base import Lookahead
from fate.policy.fate import cpsat
from fate.policy.fate.candidates import (
    Candidate,
    greedy_candidates,
    previous_candidate,
    value,
)
from fate.policy.fate.horizon import seen, weights
from fate.policy.fate.options import SOLVER_LIMIT, FateOptions, read_options
from fate.policy.fate.search import budget, improve, polish
from fate.policy.fate.shards import shard_limit
from fate.policy.kernel.backend import Kernel, open_kernel
from fate.policy.kernel.problem import Weights, plain

#: Seconds one solve takes, fixed and per (call^2 x device), measured on a 2.6 GHz core; and the
#: share of all devices' time until the next decision that it may cost. Modelled, not measured at
#: run time, so that the same snapshot always gives the same plan.
_SOLVE_S, _SOLVE_S_PER_CELL, _SOLVE_SHARE = 0.004, 0.0001, 0.01


class _Solved(NamedTuple):
    """What CP-SAT contributed."""

    best: Candidate
    status: str
    gap: float
    adopted: bool


class FatePolicy:
    """Search plans of the ready frontier for what they cost now and leave to later stages.

    Source: arXiv:2605.07238, of which only the abstract is public. The module says how; options
    are those of `FateOptions`.
    """

    name = "fate"
    lookahead: Lookahead = "near"
    inline = False

    def __init__(self, **options: Any) -> None:  # noqa: ANN401 - checked by read_options
        self.options: FateOptions = read_options(options)

    @property
    def eager(self) -> bool:
        """Without late binding work is planned when it arrives."""
        return not self.options.late_binding

    def plan(self, snapshot: Snapshot, memo: Memo | None) -> Plan:
        """Return the plan for every device."""
        if not snapshot.frontier:
            return self._finish(snapshot, [[] for _ in range(snapshot.devices)], Search())
        snapshot = seen(snapshot, self.options)
        if memo is not None and not self.options.late_binding:
            snapshot = _bound(snapshot, memo)
        chosen = weights(self.options, shard_limit(snapshot, self.options.max_shards))
        kernel = open_kernel(snapshot, chosen)
        previous = previous_candidate(kernel, snapshot, memo)
        start = greedy_candidates(kernel, snapshot)
        if previous:
            start.append(previous.candidate)
        fresh = previous.fresh if previous else snapshot.frontier
        moves = budget(snapshot, self.options.moves, fresh)
        base, best = improve(kernel, snapshot, start, moves)
        solved = self._solve(kernel, snapshot, chosen, best, fresh)
        best, kept = solved.best, False
        if previous and not self._worth_changing(previous.candidate, best):
            best, kept = previous.candidate, True
        search = Search(
            base=base.base,
            objective_s=best.objective_s if best.objective_s < inf else 0.0,
            moves=moves,
            solver=solved.status,
            gap=solved.gap,
            adopted=solved.adopted and not kept,
            kept=kept,
            backend=kernel.name,
        )
        return self._finish(snapshot, best.orders, search)

    def regrets(self, snapshot: Snapshot, plan: Plan, node: int) -> list[float]:
        """Return [D] regrets of a frontier node: what it costs later stages on each device."""
        del plan
        snapshot = seen(snapshot, self.options)
        chosen = weights(self.options, shard_limit(snapshot, self.options.max_shards))
        return list(open_kernel(snapshot, chosen).future[node])

    def _solve(
        self,
        kernel: Kernel,
        snapshot: Snapshot,
        chosen: Weights,
        best: Candidate,
        fresh: int,
    ) -> _Solved:
        """Let CP-SAT try, where it is worth it, and adopt its plan if it is exactly better."""
        if not self._worth_solving(snapshot, chosen, fresh, best.objective_s):
            return _Solved(best, "skipped", 0.0, adopted=False)
        ends_s = kernel.replay(best.orders)
        answer = cpsat.solve(plain(snapshot, chosen), best.orders, kernel.future, ends_s)
        if answer.orders is None:
            return _Solved(best, answer.status, answer.gap, adopted=False)
        found = value(kernel, snapshot, answer.orders, best.base)
        found = polish(kernel, snapshot, found, budget(snapshot, self.options.moves, fresh) // 2)
        adopted = found.beats(best)
        return _Solved(found if adopted else best, answer.status, answer.gap, adopted)

    def _worth_solving(
        self, snapshot: Snapshot, chosen: Weights, fresh: int, objective_s: float
    ) -> bool:
        """Whether CP-SAT runs: on new work only, small or coupled, and if it can pay.

        Without new chunks the previous plan, already solved, is among the candidates. Chunks of
        one instance couple when several devices may share them; models couple when those wanted
        do not fit a device together. A solve must cost little beside the work it arranges.
        """
        if not self.options.solver or snapshot.frontier < 2 or snapshot.devices < 2:
            return False
        if self.options.always_solve:
            return True
        if not fresh or snapshot.frontier > SOLVER_LIMIT or not _pays(snapshot, objective_s):
            return False
        small = snapshot.frontier <= self.options.solver_max
        return small or _shards_couple(snapshot, chosen) or _memory_couples(snapshot)

    def _worth_changing(self, previous: Candidate, best: Candidate) -> bool:
        """Whether a plan gains enough over the previous one to replace it."""
        if best.left_out != previous.left_out:
            return best.left_out < previous.left_out
        gain_s = previous.objective_s - best.objective_s
        return gain_s > self.options.margin * previous.objective_s

    def _finish(self, snapshot: Snapshot, orders: list[list[int]], search: Search) -> Plan:
        named = tuple(tuple(snapshot.chunks[node] for node in order) for order in orders)
        return Plan(policy=self.name, orders=named, memo=Memo(orders=named), search=search)


def _bound(snapshot: Snapshot, memo: Memo) -> Snapshot:
    """Return the snapshot with chunks eligible only where the plan before has put them.

    Those of a device that was lost, or failed them, may go anywhere.
    """
    node = {chunk: number for number, chunk in enumerate(snapshot.chunks)}
    usable = [bool((slots < inf).any()) for slots in snapshot.free_at_s]
    eligible = snapshot.eligible.copy()
    for device, order in enumerate(memo.orders[: snapshot.devices]):
        rows = [node[chunk] for chunk in order if chunk in node]
        stays = [row for row in rows if usable[device] and snapshot.eligible[row, device]]
        eligible[stays, :device] = eligible[stays, device + 1 :] = 0
    return dataclasses.replace(snapshot, eligible=eligible)


def _pays(snapshot: Snapshot, objective_s: float) -> bool:
    """Whether a solve is cheap beside the devices' time until the next decision.

    A plan of F calls that ends in J seconds is made anew about every J / F seconds.
    """
    calls, devices = snapshot.frontier, snapshot.devices
    cost_s = _SOLVE_S + _SOLVE_S_PER_CELL * calls * calls * devices
    return cost_s <= _SOLVE_SHARE * devices * objective_s / calls


def _shards_couple(snapshot: Snapshot, chosen: Weights) -> bool:
    """Whether several devices may share an instance that has several ready chunks."""
    instances = np.unique(snapshot.instance[: snapshot.frontier])
    return 1 < chosen.limit < snapshot.devices and len(instances) < snapshot.frontier


def _memory_couples(snapshot: Snapshot) -> bool:
    """Whether the models wanted do not fit together on a device that may run them."""
    frontier = snapshot.frontier
    wanted = np.zeros_like(snapshot.resident)
    node, device = np.nonzero(snapshot.eligible[:frontier])
    wanted[device, snapshot.model[node]] = 1
    need = (wanted * snapshot.footprint_bytes).sum(axis=1)
    return bool((need > snapshot.memory_bytes).any())
