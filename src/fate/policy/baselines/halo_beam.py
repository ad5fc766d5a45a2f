"""Halo's beam search: steps of one operator for each device, over the whole graph.

"Halo: Batch query processing and optimization for agentic workflows", arXiv:2509.02121; search
strategy of its code.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from fate.domain.plan import Memo, Plan, Search
from fate.domain.snapshot import Snapshot
from fate.policy.ahead import Lists, Operators, follow, follow_or_lay, operators
from fate.policy.base import Lookahead
from fate.policy.serving import Desk, names

#: States kept after each step, and orders tried of each step's operators.
BEAM, VARIANTS = 4, 4
#: A change of model costs its load; using the same again is worth this share of it (80 / 300).
AGAIN = 80.0 / 300.0
#: An operator is spread over idle devices if its demand is at least this share of the largest.
SPREAD = 0.6
#: Steps that the variant with late binding looks ahead.
NEAR = 3
#: Operators of fewer items are not spread.
_MIN_ITEMS = 3


@dataclass(frozen=True, slots=True)
class _Task:
    """An operator, or one of `parts` equal parts of it."""

    op: int
    demand_s: float
    parts: int = 1


@dataclass(slots=True)
class _State:
    """A plan so far: seconds and last model of each device, and what is left."""

    spent_s: list[float]
    last: list[int]
    ready: list[int]
    missing: dict[int, int]
    left_s: float
    placed: tuple[tuple[int, int], ...] = ()
    before: "_State | None" = None
    score_s: float = 0.0


@dataclass(slots=True)
class _Search:
    """The search over one snapshot's operators."""

    ops: Operators
    demand_s: list[float]
    load_s: list[float]
    devices: int
    order: list[int] = field(init=False)

    def __post_init__(self) -> None:
        """Rank operators: most children, then the longest path below, then as they stand."""
        below = self.ops.below()
        keys = [(-len(mine), -below[op], op) for op, mine in enumerate(self.ops.children)]
        self.order = [0] * len(keys)
        for position, op in enumerate(sorted(range(len(keys)), key=keys.__getitem__)):
            self.order[op] = position

    def run(self, spent_s: list[float], last: list[int], steps: int) -> Lists:
        """Return operators by device after so many steps, or all of them."""
        waiting = self.ops.waits_for
        can_run = [bool(hosts) for hosts in self.ops.hosts]
        ready = [op for op in range(len(waiting)) if not waiting[op] and can_run[op]]
        ready.sort(key=self.order.__getitem__)
        beam = [_State(spent_s, last, ready, {}, sum(self.demand_s))]
        while steps > 0 and any(state.ready for state in beam):
            children = [child for state in beam for child in self._expand(state)]
            beam = sorted(children, key=lambda state: state.score_s)[:BEAM]
            steps -= 1
        return self._lists(beam[0])

    def _expand(self, state: _State) -> list[_State]:
        if not state.ready:
            return [state]
        tasks = self._step(state)
        variants = [tasks]
        for at in range(min(VARIANTS, len(tasks)) - 1):
            swapped = [*tasks]
            swapped[at], swapped[at + 1] = swapped[at + 1], swapped[at]
            variants.append(swapped)
        return [self._after(state, self._assign(state, variant)) for variant in variants]

    def _step(self, state: _State) -> list[_Task]:
        """Return the tasks of the next step: ready operators by rank, the heaviest spread."""
        chosen = state.ready[: self.devices]
        tasks = [_Task(op, self.demand_s[op]) for op in chosen]
        parts = self.devices - len(chosen) + 1
        able = [op for op in chosen if self.ops.items[op] >= _MIN_ITEMS]
        if parts > 1 and able:
            op = max(able, key=lambda op: self.demand_s[op])
            if self.demand_s[op] >= SPREAD * max(self.demand_s[other] for other in state.ready):
                part = _Task(op, self.demand_s[op] / parts, parts)
                at = chosen.index(op)
                tasks[at : at + 1] = [part] * parts
        return tasks

    def _assign(self, state: _State, tasks: Sequence[_Task]) -> list[tuple[_Task, int, float]]:
        """Give each task in turn the free device on which it adds least."""
        free, given = list(range(self.devices)), list[tuple[_Task, int, float]]()
        for task in tasks:
            model, hosts = self.ops.model[task.op], self.ops.hosts[task.op]
            best, least_s = -1, 0.0
            for device in free:
                if device not in hosts:
                    continue
                load_s = self.load_s[model]
                switch_s = -AGAIN * load_s if state.last[device] == model else load_s
                if best < 0 or task.demand_s + switch_s < least_s:
                    best, least_s = device, task.demand_s + switch_s
            if best >= 0:
                free.remove(best)
                given.append((task, best, least_s))
        return given

    def _after(self, state: _State, given: list[tuple[_Task, int, float]]) -> _State:
        spent_s, last, left_s = list(state.spent_s), list(state.last), state.left_s
        missing, done = dict(state.missing), dict[int, None]()
        for task, device, added_s in given:
            spent_s[device] += added_s
            last[device] = self.ops.model[task.op]
            left_s -= task.demand_s
            done[task.op] = None
        ready = [op for op in state.ready if op not in done]
        known = len(ready)
        for op in done:
            for child in self.ops.children[op]:
                missing[child] = missing.get(child, self.ops.waits_for[child]) - 1
                if not missing[child] and self.ops.hosts[child]:
                    ready.append(child)
        if len(ready) > known:
            ready.sort(key=self.order.__getitem__)
        placed = tuple((device, task.op) for task, device, _ in given)
        score_s = max(spent_s) + left_s / self.devices
        return _State(spent_s, last, ready, missing, left_s, placed, state, score_s)

    def _lists(self, state: _State | None) -> Lists:
        steps = list[tuple[tuple[int, int], ...]]()
        while state is not None:
            steps.append(state.placed)
            state = state.before
        lists: Lists = [[] for _ in range(self.devices)]
        for placed in reversed(steps):
            for device, op in placed:
                lists[device].append(self.ops.instance[op])
        return lists


def _search(desk: Desk, ops: Operators, steps: int) -> Lists:
    """Search from what devices do and hold now."""
    snapshot = desk.snapshot
    loads = np.where(np.isfinite(snapshot.load_s), snapshot.load_s, np.nan)
    rates = np.where(np.isfinite(snapshot.load_s), snapshot.decode[..., 1], np.nan)
    load_s, rate = _mean(loads), _mean(rates)
    tokens = snapshot.output_tokens.tolist()
    demand_s = [
        sum(tokens[node] for node in nodes) * rate[model]
        for nodes, model in zip(ops.nodes, ops.model, strict=True)
    ]
    free_s = [max(min(slots), desk.now_s) - desk.now_s for slots in desk.free_at_s]
    spent_s = [seconds if seconds < float("inf") else 0.0 for seconds in free_s]
    used_at = np.where(snapshot.resident > 0, snapshot.used_at, -1)
    last = np.where(used_at.max(axis=1) >= 0, used_at.argmax(axis=1), -1).tolist()
    return _Search(ops, demand_s, load_s, desk.devices).run(spent_s, last, steps)


def _mean(table: np.ndarray) -> list[float]:
    """Return the mean of each column's finite entries, 0 without any."""
    known = np.isfinite(table)
    total = np.where(known, table, 0.0).sum(axis=0)
    return (total / np.maximum(known.sum(axis=0), 1)).tolist()


@dataclass(frozen=True, slots=True, kw_only=True)
class HaloBeam:
    """Search x following; `fate.policy.base.Policy` says what it promises."""

    name: str
    binding: Literal["ahead", "late"]

    inline = True
    lookahead: Lookahead = "all"

    @property
    def eager(self) -> bool:
        """A plan for whole workflows is made when they arrive."""
        return self.binding == "ahead"

    def plan(self, snapshot: Snapshot, memo: Memo | None) -> Plan:
        """Follow the lists laid down, or search anew."""
        desk = Desk(snapshot)
        if self.binding == "ahead":

            def lay(ops: Operators) -> Lists:
                return _search(desk, ops, len(ops.instance))

            orders, memo = follow_or_lay(desk, memo, lay, strict=True)
        else:
            lists = _search(desk, operators(snapshot), NEAR)
            orders, memo = follow(desk, lists, strict=False), None
        return Plan(
            policy=self.name,
            orders=names(snapshot, orders),
            memo=memo,
            search=Search(base=self.name),
        )


def halo() -> HaloBeam:
    """Search step by step for lists of operators per device, and follow them in order.

    Source: Halo (arXiv:2509.02121), strategy "search" of its code. Rule: an operator's demand is
    its answers' tokens at the model's size; giving it to a device adds its demand, + the model's
    load if the device had another model last, - 80/300 of a load otherwise. Step by step, up to
    one ready operator for each device, most children first, then the longest path below; with
    fewer, the heaviest is spread over the devices left if its demand is at least .6 of the
    largest. Each step tries the operators in this order and with neighbours swapped (4 variants),
    each to the free device where it adds least, and keeps the 4 plans with the lowest (most
    loaded device + what is left / devices). Devices work their lists off strictly in order.
    Deviations: demands are in seconds, tokens at the model's mean rate of generation, and the
    constants 300 and 80 of the code are rescaled to a load's seconds, beside which they were
    nothing; an operator is one workflow's instance with its items, not a batch of queries; the
    plan is made anew for what has not started when workflows arrive; no KV is sent between
    devices.
    """
    return HaloBeam(name="halo", binding="ahead")


def halo_late() -> HaloBeam:
    """Search the next steps at every decision, and start what comes first.

    Source: as `halo`. Rule: the same search from what devices do and hold now, three steps deep,
    at every decision; idle devices start the first ready operator of their list. Deviations: as
    `halo`; late binding and the bound on steps are ours.
    """
    return HaloBeam(name="halo-late", binding="late")
