"""Greedy rules that run the whole visible DAG, in plain Python: the specification.

At every projected event in which a device is idle and work is ready, a rule lists the ready nodes
for all devices, busy ones too, in the state as it would be then; the heads of idle devices' lists
start. What comes out is a plan for all nodes. A rule takes the most urgent node and puts it where
it ends first; batch-mode heuristics and list scheduling differ in nothing but what is urgent.

`compiled_rolled` repeats this file expression by expression; both must agree to the last bit.
"""

from copy import deepcopy
from math import inf
from typing import Final, NamedTuple

from fate.policy.kernel.problem import Plain
from fate.policy.kernel.reference import appraise, commit, work_seconds
from fate.policy.kernel.reference_project import ANY, Graph, Places, Run
from fate.policy.kernel.reference_state import Bench

#: Pairs of a node and a device that a rule looks at in all its events, about, and ready nodes that
#: it looks at in each, at least.
_LOOKS: Final = 10_000_000
_LEAST: Final = 64
#: A window that leaves nothing out.
EVERYTHING: Final = 1 << 30


class Urgency(NamedTuple):
    """How urgent a node is: weights of three terms in seconds.

    `loss` weighs what it loses on its second best device (sufferage; inf where there is none),
    `rank` the longest path from it, its own work included; `haste` counts against a late end.
    Of the ready nodes only `window` are looked at: of every workflow the one with the longest path,
    then the others with the longest paths. A narrow one keeps together what belongs together.
    """

    loss: float
    rank: float
    haste: float
    window: int = EVERYTHING


#: The node with the longest path first; the one that ends first; the one that loses most.
LATE_EFT: Final = Urgency(0.0, 1.0, 0.0)
ROLLED_MIN_MIN: Final = Urgency(0.0, 0.0, 1.0)
SUFFERAGE: Final = Urgency(1.0, 0.0, 0.0)


def rolled(p: Plain, graph: Graph, urgency: Urgency, factors: list[float]) -> Places:
    """Return the plan that a rule carries out; nodes that nobody can run keep `ANY`.

    Args:
        p: the problem.
        graph: see `reference_project.reverse`.
        urgency: the rule.
        factors: what each node's rank is multiplied by.
    """
    nodes = len(p.model)
    rank = [(p.tail_s[node] + least_work(p, node)) * factors[node] for node in range(nodes)]
    run = Run(p, graph, Places([ANY] * nodes, [0.0] * nodes))
    while True:
        while run.ready[ANY] and (heads := _heads(run, rank, urgency)):
            if not sum([run.start(node, device) for device, node in sorted(heads.items())]):
                break
        run.now_s = run.next_s()
        if not run.now_s < inf:
            break
        run.end_all()
    turn = [
        float(nodes) if device == ANY else turn
        for device, turn in zip(run.device, run.turn, strict=True)
    ]
    return Places(run.device, turn)


def window(nodes: int, devices: int) -> int:
    """Return at how many ready nodes a rule may look in an event: all of them but in large DAGs."""
    return max(_LOOKS // max(nodes * devices, 1), _LEAST)


def least_work(p: Plain, node: int) -> float:
    """Return the seconds of a node's work, nothing cached, on the device that is quickest at it."""
    return min(
        [work_seconds(p, node, d, 0.0) for d in range(p.devices) if p.eligible[node][d]],
        default=0.0,
    )


def _heads(run: Run, rank: list[float], urgency: Urgency) -> dict[int, int]:
    """Return by device the node that heads an idle device's list."""
    idle, trial, heads = run.idle(), list(run.benches), dict[int, int]()
    left = sorted(_first(run, rank, min(urgency.window, window(len(run.p.model), run.p.devices))))
    ends = {node: [_end(run, trial[d], node, d) for d in range(run.p.devices)] for node in left}
    while ends and len(heads) < len(idle):
        best, most = -1, -inf
        for node, row in ends.items():
            value = _value(row, rank[node], urgency)
            if value > most:
                best, most = node, value
        if best < 0:
            break
        row = ends.pop(best)
        device = row.index(min(row))
        if device in idle and device not in heads:
            heads[device] = best
        if trial[device] is run.benches[device]:
            trial[device] = deepcopy(trial[device])
        _end(run, trial[device], best, device, take=True)
        for node, other in ends.items():
            other[device] = _end(run, trial[device], node, device)
    return heads


def _first(run: Run, rank: list[float], most: int) -> list[int]:
    """Return at most so many ready nodes, see `Urgency`."""
    ready = sorted(run.ready[ANY], key=lambda node: (-rank[node], node))
    teams = {run.graph.team[node]: node for node in reversed(ready)}
    return sorted(ready, key=lambda node: teams[run.graph.team[node]] != node)[:most]


def _end(run: Run, bench: Bench, node: int, device: int, *, take: bool = False) -> float:
    """Return when a node would end behind what a device has on its list; inf where it cannot."""
    bench.from_s, bench.gather_s = run.now_s, run.gather_seconds(node, device)
    placed = appraise(run.p, bench, device, node)
    if placed is not None and take:
        commit(run.p, bench, node, placed)
    return inf if placed is None else placed.finish_s


def _value(ends_s: list[float], rank_s: float, urgency: Urgency) -> float:
    """Return how urgent a node is; it may have no other device to lose."""
    first_s, second_s = [*sorted(ends_s), inf][:2]
    if not first_s < inf:
        return -inf
    value_s = urgency.rank * rank_s - urgency.haste * first_s
    if urgency.loss > 0.0:
        value_s = value_s + urgency.loss * (second_s - first_s)
    return value_s
