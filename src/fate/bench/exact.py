"""The exact optimum of small cases: the whole DAG as one CP-SAT model.

What a call meets on a device depends on what ran there before it, so each device is a circuit:
an arc i -> j on d says that j runs there right after i, and carries what that costs:

    arc    unload and load where the models differ; prefill of what i's content lacks; decode
    gather outputs of parents that ran on other devices, by pairs of places
    start  after the parents have ended, after i has, after the workflow has come

The case must be one in which this is all there is: see `check_exact`. Times are rounded down to
ticks, so that the solver's bound is one on the true optimum; the schedule it returns is played
through the core, and what that takes is the value that counts.
"""

from dataclasses import dataclass
from itertools import pairwise
from math import floor, inf
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, cast

from fate.bench.case import Case, run_case
from fate.bench.played import PlayedOrders
from fate.bench.pricing import Priced, priced
from fate.domain.errors import FateError
from fate.domain.graph import Chunk, path_tokens, shared_tokens
from fate.domain.state import usable_hit

if TYPE_CHECKING:
    from ortools.sat.python.cp_model import BoolVarT, CpModel, CpSolver, IntVar

#: Ticks per second.
TICKS = 1000
#: Deterministic seconds of search, about twice as many seconds of one core.
EFFORT = 30.0

#: Calls on every device, by position in the case's nodes, in order.
Lists: TypeAlias = tuple[tuple[int, ...], ...]
#: (call before or -1 for none, call, device) -> ticks.
Arcs: TypeAlias = dict[tuple[int, int, int], int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Exact:
    """The best schedule found, what it simulates to, and what no schedule can be shorter than.

    `makespan_s` is that of the schedule as the core plays it, `claimed_s` the solver's own value;
    they differ by rounding at most. `proved`: within rounding of the bound.
    """

    lists: Lists
    makespan_s: float
    claimed_s: float
    bound_s: float
    status: Literal["optimal", "feasible"]

    @property
    def proved(self) -> bool:
        """Whether no schedule is shorter, but for rounding."""
        return self.status == "optimal"


def check_exact(case: Case, p: Priced) -> None:
    """Refuse a case of which the model is not the whole truth.

    Raises:
        FateError: naming what stands against it.
    """
    cluster, against = case.cluster, ""
    least = sorted(model.footprint_bytes for model in cluster.models)[:2]
    for device in cluster.devices:
        cached = device.prefix == "none" or (device.prefix, device.sequences) == ("sequences", 1)
        if device.slots != 1 or not device.managed or device.park_bytes or not cached:
            against = f"device {device.id!r} must be managed, with one slot and one sequence"
        if len(least) > 1 and sum(least) <= device.memory_bytes:
            against = f"device {device.id!r} holds more than one model"
    if any(node.kind != "call" or node.needed < len(node.parents) for node in p.nodes):
        against = "tools, twins and joins"
    if len({node.instance for node in p.nodes}) < len(p.nodes):
        against = "maps"
    linked = cluster.links and any(device.prefix != "none" for device in cluster.devices)
    if linked and case.options.move:
        against = "KV states move (set `move=False`)"
    if case.truth.noise or case.truth.failure_rate or case.truth.refusal_rate:
        against = "noise and failures"
    if against:
        raise FateError(f"the exact optimum cannot be had of this case: {against}")


def solve_exact(case: Case, hint: Lists | None = None, effort: float = EFFORT) -> Exact:
    """Return the optimum of a case, or the best schedule found with a bound.

    Args:
        case: see `check_exact`.
        hint: a schedule to start from.
        effort: deterministic seconds of search.

    Raises:
        FateError: the case is not one for this model, or nothing was found.
    """
    from ortools.sat.python import cp_model

    p = priced(case)
    check_exact(case, p)
    form = _Form(p, cp_model.CpModel())
    form.state()
    if hint is not None:
        form.hint(hint)
    solver = cp_model.CpSolver()
    solver.parameters.num_workers = 1
    solver.parameters.linearization_level = 2  # proves in half the time
    solver.parameters.catch_sigint_signal = False
    solver.parameters.random_seed = 1
    solver.parameters.max_deterministic_time = effort
    status = solver.solve(form.model)
    if status not in (cp_model.OPTIMAL, cp_model.FEASIBLE):
        raise FateError(f"no schedule found: {solver.status_name(status).lower()}")
    lists = form.lists(solver)
    return Exact(
        lists=lists,
        makespan_s=run_case(case, PlayedOrders(as_chunks(p, lists))).makespan_s,
        claimed_s=solver.objective_value / TICKS,
        bound_s=solver.best_objective_bound / TICKS,
        status="optimal" if status == cp_model.OPTIMAL else "feasible",
    )


def as_chunks(p: Priced, lists: Lists) -> tuple[tuple[Chunk, ...], ...]:
    """Return lists of calls as the core knows them."""
    return tuple(
        tuple(
            Chunk(p.nodes[node].instance, p.nodes[node].item, p.nodes[node].item + 1)
            for node in order
        )
        for order in lists
    )


def arcs(p: Priced) -> Arcs:
    """Return the seconds from one call's end to the next one's on a device, in ticks.

    Without gathering, which depends on where the parents ran. What no device can run has no arc.
    """
    found: Arcs = {}
    for d in p.devices:
        device = p.case.cluster.devices[d]
        for j, node in enumerate(p.nodes):
            load_s = p.load_seconds(node.model, d)
            if load_s == inf:
                continue
            found[-1, j, d] = _ticks(load_s + p.call_seconds(j, d, 0.0))
            for i, before in enumerate(p.nodes):
                if i == j or p.load_seconds(before.model, d) == inf:
                    continue
                if before.model != node.model:
                    switch_s = p.unload_seconds(before.model, d) + load_s
                    found[i, j, d] = _ticks(switch_s + p.call_seconds(j, d, 0.0))
                    continue
                cached = 0
                if device.prefix != "none":
                    left = (*before.prompt, before.answer)
                    hit = shared_tokens(node.prompt, left)
                    cached = int(usable_hit(hit, path_tokens(node.prompt)))
                found[i, j, d] = _ticks(p.call_seconds(j, d, float(cached)))
    return found


def _ticks(seconds: float) -> int:
    """Round down; a little slack keeps whole numbers of ticks what they are."""
    return floor(seconds * TICKS + 1e-6)


class _Form:
    """The model under construction: literals of arcs, places and pairs of places."""

    def __init__(self, p: Priced, model: "CpModel") -> None:
        self.p, self.model = p, model
        self.cost = arcs(p)
        # Longest first, everything on one device with a switch each: no schedule needs more.
        self.horizon = self._horizon()
        calls = range(len(p.nodes))
        self.end = [model.new_int_var(0, self.horizon, "") for _ in calls]
        self.runs = {(j, d): model.new_bool_var("") for i, j, d in self.cost if i == -1}
        self.arc = {key: model.new_bool_var("") for key in self.cost}
        self.last = {key: model.new_bool_var("") for key in self.runs}
        self.apart: dict[tuple[int, int, int, int], IntVar] = {}
        self.makespan = model.new_int_var(0, self.horizon, "")

    def state(self) -> None:
        """Write down variables, constraints and objective."""
        for j in range(len(self.p.nodes)):
            self.model.add_exactly_one([v for (n, _), v in self.runs.items() if n == j])
        spent = {j: self._spent(j) for j in range(len(self.p.nodes))}
        for d in self.p.devices:
            self._circuit(d)
        for j, node in enumerate(self.p.nodes):
            gather = sum(ticks * v for (_, _, _, ticks), v in spent[j])
            own = sum(self.cost[i, k, d] * v for (i, k, d), v in self.arc.items() if k == j)
            takes = own + gather
            self.model.add(self.end[j] >= _ticks(node.arrival_s) + takes)
            for parent in node.parents:
                self.model.add(self.end[j] >= self.end[parent] + takes)
            for (i, k, _), literal in self.arc.items():
                if k == j and i >= 0:
                    follows = self.model.add(self.end[j] >= self.end[i] + takes)
                    cast("Any", follows).only_enforce_if(literal)  # its overloads: partly typed
            self.model.add(self.makespan >= self.end[j])
        self._capacity(spent)
        self.model.minimize(self.makespan)

    def hint(self, lists: Lists) -> None:
        """Start from a schedule."""
        home = {node: d for d, order in enumerate(lists) for node in order}
        after = {(b, d): a for d, order in enumerate(lists) for a, b in pairwise((-1, *order))}
        ends = {order[-1] for order in lists if order}
        for (j, d), literal in self.runs.items():
            self.model.add_hint(literal, home[j] == d)
            self.model.add_hint(self.last[j, d], home[j] == d and j in ends)
        for (i, j, d), literal in self.arc.items():
            self.model.add_hint(literal, after.get((j, d)) == i)

    def lists(self, solver: "CpSolver") -> Lists:
        """Return the solver's schedule."""
        following = {
            (i, d): j for (i, j, d), literal in self.arc.items() if solver.boolean_value(literal)
        }
        found: list[tuple[int, ...]] = []
        for d in self.p.devices:
            order, at = list[int](), -1
            while (at, d) in following:
                at = following[at, d]
                order.append(at)
            found.append(tuple(order))
        return tuple(found)

    def _circuit(self, d: int) -> None:
        """Node 0 stands for the beginning and the end; a call elsewhere stands by itself."""
        model = self.model
        rows: list[tuple[int, int, BoolVarT]] = []
        for (i, j, device), literal in self.arc.items():
            if device == d:
                rows.append((i + 1, j + 1, literal))
        for (j, device), literal in self.runs.items():
            if device == d:
                rows.append((j + 1, 0, self.last[j, d]))
                rows.append((j + 1, j + 1, literal.negated()))
        unused = model.new_bool_var("")
        rows.append((0, 0, unused))
        model.add_circuit(rows)

    def _spent(self, j: int) -> list[tuple[tuple[int, int, int, int], "IntVar"]]:
        """Return (parent, its device, the call's device, ticks) with the literal that says so."""
        found: list[tuple[tuple[int, int, int, int], IntVar]] = []
        for parent in self.p.nodes[j].gathers:
            for source in self.p.devices:
                for target in self.p.devices:
                    ticks = _ticks(self.p.transfer_seconds(parent, source, target))
                    both = [self.runs.get((parent, source)), self.runs.get((j, target))]
                    if not ticks or both[0] is None or both[1] is None:
                        continue
                    literal = self.model.new_bool_var("")
                    self.model.add_bool_or([literal, both[0].negated(), both[1].negated()])
                    found.append(((parent, source, target, ticks), literal))
        return found

    def _capacity(self, spent: dict[int, list[tuple[tuple[int, int, int, int], "IntVar"]]]) -> None:
        """What a device does takes no longer than everything: implied, and of great help."""
        for d in self.p.devices:
            own = sum(self.cost[key] * v for key, v in self.arc.items() if key[2] == d)
            gathers = sum(
                ticks * v
                for rows in spent.values()
                for (_, _, target, ticks), v in rows
                if target == d
            )
            self.model.add(self.makespan >= own + gathers)

    def _horizon(self) -> int:
        worst: dict[int, int] = {}
        for (_, j, _), ticks in self.cost.items():
            worst[j] = max(worst.get(j, 0), ticks)
        for j, node in enumerate(self.p.nodes):
            if j not in worst:
                raise FateError(f"{node.instance} fits on no device")
            for parent in node.gathers:
                pairs = [(s, t) for s in self.p.devices for t in self.p.devices]
                worst[j] += max(_ticks(self.p.transfer_seconds(parent, s, t)) for s, t in pairs)
        latest = max((_ticks(node.arrival_s) for node in self.p.nodes), default=0)
        return latest + sum(worst.values())
