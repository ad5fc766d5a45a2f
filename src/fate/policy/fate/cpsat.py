"""CP-SAT on the frontier: which device runs which call, in a fixed order.

Form E of the design: calls are ordered once, by when the local search ends them, and the solver
chooses devices. Its surrogate of J, in integer ticks:

    minimise T + eps * sum C_n + sum fut[n, d]      T >= C_n + tau * tail_n
    C_n >= start of d + what d runs up to n in the order, if n runs on d

Stages couple through a device's state:

    load     paid by a call whose model is not on the device, unless an earlier call of the same
             model runs there; paid again after a call whose model does not fit beside it
    prefix   an earlier call on the device that leaves more of the prompt than lies there now
    shards   an instance is one column: a set of at most `limit` devices, its chunks within it

The hint is the local search's plan, which the order can always express. One worker, a fixed seed
and a deterministic limit make the answer repeatable. The caller adopts it only if the exact
replay says that it is better: evictions beyond pairs of models, slots and slowdown are surrogates
here.
"""

from itertools import combinations
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from fate.domain.state import usable_hit
from fate.policy.kernel.problem import Plain
from fate.policy.kernel.reference import Future, Orders, appraise, shared, work_seconds
from fate.policy.kernel.reference_state import benches

if TYPE_CHECKING:
    from ortools.sat.python.cp_model import CpModel, CpSolver, IntVar, LinearExprT

#: Ticks per second; finer ones slow the solver, and no estimate is better than this.
_TICKS = 1000
#: Devices offered to one instance, best first; the hint's device is always among them.
_COLUMNS = 4
#: Deterministic seconds of search: about three times as many seconds on a slow core.
_EFFORT = 0.02


def to_ticks(seconds: float) -> int:
    """Return solver time; the only place where seconds become integers."""
    return round(seconds * _TICKS)


class Answer(NamedTuple):
    """What the solver found: orders (None if nothing), its status and the relative gap."""

    orders: Orders | None
    status: str
    gap: float


class Cell(NamedTuple):
    """Ticks of one call on one device: work as things are, load if needed, saving by a prefix."""

    work: int
    load: int
    saving: int
    givers: frozenset[int]


def solve(p: Plain, hint: Orders, future: Future, ends_s: list[float]) -> Answer:
    """Solve form E around a plan; `ends_s` are the calls' ends in it and give the order."""
    form = build(p, hint, future, ends_s)
    return Answer(None, "trivial", 0.0) if form is None else search(form)


def build(p: Plain, hint: Orders, future: Future, ends_s: list[float]) -> "Form | None":
    """Return the model of `solve`, written down; None where there is nothing to place."""
    from ortools.sat.python import cp_model

    home = {node: device for device, order in enumerate(hint) for node in order}
    order = sorted(home, key=lambda node: (ends_s[node], home[node], node))
    if not order:
        return None
    form = Form(p, cp_model.CpModel(), order, home, future)
    form.state()
    return form


def search(form: "Form") -> Answer:
    """Let the solver look for a better plan than the hint."""
    from ortools.sat.python import cp_model

    solver = cp_model.CpSolver()
    solver.parameters.num_workers = 1
    # Its own handler would replace Ctrl-C for good: it leaves the default action behind.
    solver.parameters.catch_sigint_signal = False
    solver.parameters.random_seed = 1
    # The linear relaxation says little: without it a solve takes half as long, and proves more.
    solver.parameters.linearization_level = 0
    solver.parameters.max_deterministic_time = _EFFORT
    status = solver.solve(form.model)
    name = solver.status_name(status).lower()
    if status not in (cp_model.OPTIMAL, cp_model.FEASIBLE):
        return Answer(None, name, 0.0)
    value, bound = solver.objective_value, solver.best_objective_bound
    return Answer(form.orders(solver), name, max(0.0, (value - bound) / max(1.0, abs(value))))


class Form:
    """The model under construction; literals by (node, device)."""

    def __init__(
        self, p: Plain, model: "CpModel", order: list[int], home: dict[int, int], future: Future
    ) -> None:
        self.p, self.model, self.order, self.home, self.future = p, model, order, home, future
        self.cells = self._cells()
        self.runs: dict[tuple[int, int], IntVar] = {
            key: model.new_bool_var("") for key in self.cells
        }

    def state(self) -> None:
        """Write down variables, constraints, objective and hint."""
        p = self.p
        for node in self.order:
            self.model.add_exactly_one([v for (n, _), v in self.runs.items() if n == node])
        self._columns()
        horizon = 2 * sum(
            max(c.work + c.load for (n, _), c in self.cells.items() if n == node)
            for node in self.order
        )
        start = {  # of candidates only: a lost device is never free
            d: to_ticks(max(min(p.free_at_s[d]), p.now_s) - p.now_s)
            for d in sorted({d for _, d in self.cells})
        }
        horizon += max(start.values())
        ends = {node: self.model.new_int_var(0, horizon, "") for node in self.order}
        for device, free in start.items():
            self._device(device, free, ends, horizon)
        self._objective(ends, horizon)
        for (node, device), literal in self.runs.items():
            self.model.add_hint(literal, int(self.home[node] == device))

    def orders(self, solver: "CpSolver") -> Orders:
        """Return the solver's plan, every list in the fixed order."""
        orders: Orders = [[] for _ in range(self.p.devices)]
        for node in self.order:
            for device in range(self.p.devices):
                if (node, device) in self.runs and solver.boolean_value(self.runs[node, device]):
                    orders[device].append(node)
        return orders

    def _cells(self) -> dict[tuple[int, int], Cell]:
        """Price every call on its candidate devices."""
        p, state = self.p, benches(self.p)
        cells: dict[tuple[int, int], Cell] = {}
        for node in self.order:
            priced: list[tuple[float, int, Cell]] = []
            for device in range(p.devices):
                placed = appraise(p, state[device], device, node)
                if placed is not None:
                    unload_s, load_s, transfer_s, work_s = placed.terms
                    saving_s, givers = self._saving(node, device, placed.cached)
                    slots = sum(1 for free_s in p.free_at_s[device] if free_s < float("inf"))
                    cell = Cell(
                        to_ticks((transfer_s + work_s) / slots),
                        to_ticks(unload_s + load_s or p.load_s[device][p.model[node]]),
                        to_ticks(min(saving_s, work_s) / slots),
                        givers,
                    )
                    rank = placed.finish_s + self.future[node][device]
                    priced.append((rank, device, cell))
            priced.sort(key=lambda entry: (entry[1] != self.home[node], entry[0], entry[1]))
            cells.update({(node, d): cell for _, d, cell in priced[:_COLUMNS]})
        return cells

    def _saving(self, node: int, device: int, cached: float) -> tuple[float, frozenset[int]]:
        """Return what the best earlier neighbour's content would save, and who leaves as much."""
        p = self.p
        left = {
            other: shared(p, node, p.contents_now + other)
            for other in self.order[: self.order.index(node)]
            if p.model[other] == p.model[node]
        }
        most = max(left.values(), default=0)
        if most <= cached:
            return 0.0, frozenset()
        now_s = work_seconds(p, node, device, cached)
        saved_s = now_s - work_seconds(p, node, device, usable_hit(most, p.first_tokens[node]))
        return saved_s, frozenset(other for other, tokens in left.items() if tokens == most)

    def _columns(self) -> None:
        """Give every instance one column, a set of devices that may hold its chunks."""
        p = self.p
        if p.weights.limit >= p.devices:
            return
        chunks: dict[int, list[int]] = {}
        for node in self.order:
            chunks.setdefault(p.instance[node], []).append(node)
        for instance, nodes in chunks.items():
            hosts = sorted({d for n, d in self.cells if n in nodes})
            serving = {d for d in range(p.devices) if instance in p.running_instance[d]}
            if len(nodes) == 1 and not serving:
                continue
            fixed = serving.intersection(hosts)
            size = max(p.weights.limit - len(serving - fixed), len(fixed), 1)
            sets = [
                frozenset(chosen)
                for chosen in combinations(hosts, min(size, len(hosts)))
                if fixed <= set(chosen)
            ]
            column = {chosen: self.model.new_bool_var("") for chosen in sets}
            self.model.add_exactly_one(column.values())
            for node, device in self.cells:
                if node in nodes and device not in fixed:
                    within = [v for chosen, v in column.items() if device in chosen]
                    self.model.add_bool_or([*within, self.runs[node, device].negated()])

    def _device(self, device: int, start: int, ends: dict[int, "IntVar"], horizon: int) -> None:
        """Chain the ends of what a device runs, in the fixed order, with loads and savings."""
        model = self.model
        sum_so_far: LinearExprT = start
        before: list[int] = []
        for node in self.order:
            if (node, device) not in self.cells:
                continue
            cell, runs = self.cells[node, device], self.runs[node, device]
            spent = cell.work * runs
            if cell.load:
                spent = spent + cell.load * self._load(node, device, before)
            givers = [self.runs[n, device] for n in before if n in cell.givers]
            if cell.saving and givers:
                saves = model.new_bool_var("")
                model.add_implication(saves, runs)
                model.add_bool_or([*givers, saves.negated()])
                spent = spent - cell.saving * saves
            total = model.new_int_var(0, horizon, "")
            model.add(total == sum_so_far + spent)
            bound = model.add(ends[node] >= total)
            cast("Any", bound).only_enforce_if(runs)  # its overloads are only partly typed
            sum_so_far = total
            before.append(node)

    def _load(self, node: int, device: int, before: list[int]) -> "IntVar":
        """Return the literal of a load right before a call."""
        p, model, runs = self.p, self.model, self.runs
        loads = model.new_bool_var("")
        mine = p.model[node]
        run = runs[node, device]
        same: list[IntVar] = []
        for other in reversed(before):
            if p.model[other] == mine:
                same.append(runs[other, device])
            elif self._clash(device, p.model[other], mine):
                model.add_bool_or([loads, run.negated(), runs[other, device].negated(), *same])
        if not p.resident[device][mine]:
            model.add_bool_or([loads, run.negated(), *same])
        return loads

    def _clash(self, device: int, left: int, right: int) -> bool:
        """Whether two models do not fit on a device together, beside what is pinned there."""
        p = self.p
        need = p.footprint_bytes[device][left] + p.footprint_bytes[device][right]
        for other, pinned in enumerate(p.pinned[device]):
            if pinned and p.resident[device][other] and other not in (left, right):
                need += p.footprint_bytes[device][other]
        return need > p.memory_bytes[device]

    def _objective(self, ends: dict[int, "IntVar"], horizon: int) -> None:
        p, model = self.p, self.model
        tail = {node: to_ticks(p.weights.tau * p.tail_s[node]) for node in self.order}
        latest = model.new_int_var(0, horizon + max(tail.values()), "")
        for node in self.order:
            model.add(latest >= ends[node] + tail[node])
        regret = sum(
            to_ticks(self.future[n][d]) * literal
            for (n, d), literal in self.runs.items()
            if self.future[n][d] > 0.0
        )
        # Weights in percent keep the objective integral.
        eps = round(100.0 * p.weights.eps)
        model.minimize(100 * latest + eps * sum(ends.values()) + 100 * regret)
