"""Task graphs as classical scheduling sees them, and the ranks computed on them.

Work differs by device, data between two devices costs a fixed time and a time per unit, and a
device has no state. Formulas are those of the papers; a task that cannot run on a device has
infinite work there and is left out of means over devices.

Topcuoglu, Hariri, Wu, IEEE TPDS 13(3), 2002 (HEFT, CPOP); Arabnejad, Barbosa, IEEE TPDS 25(3),
2014 (PEFT).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf
from typing import NamedTuple, TypeAlias


class Edge(NamedTuple):
    """An edge as one of its ends sees it.

    `units` of data go from device to device; `after_s` seconds pass in any case.
    """

    task: int
    units: float
    after_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Dag:
    """N tasks on D devices; several roots, sinks and components are allowed.

    Attributes:
        work_s: [N][D] seconds; inf where a task cannot run.
        children: [N] edges out of each task.
        order: the tasks in a topological order.
        link: [D][D] (fixed, per unit) seconds between two devices; zero on the diagonal.
    """

    work_s: list[list[float]]
    children: list[list[Edge]]
    order: list[int]
    link: list[list[tuple[float, float]]]

    @property
    def devices(self) -> int:
        """D, the number of devices."""
        return len(self.link)


class Preference(NamedTuple):
    """What a rule wants: tasks by falling priority, each where finish plus bias is lowest.

    `bias` is [N][D] seconds, or None for none.
    """

    priority: list[float]
    bias: list[list[float]] | None


#: A rule looks at a graph once and says in which order, and how, tasks choose their devices.
Rule: TypeAlias = Callable[[Dag], Preference]


def make_dag(
    work_s: list[list[float]],
    children: list[list[Edge]],
    link: list[list[tuple[float, float]]],
) -> Dag:
    """Return a graph with a topological order, roots by index first."""
    missing = [0] * len(children)
    for edges in children:
        for edge in edges:
            missing[edge.task] += 1
    order = [task for task, count in enumerate(missing) if count == 0]
    for task in order:
        for edge in children[task]:
            missing[edge.task] -= 1
            if missing[edge.task] == 0:
                order.append(edge.task)
    return Dag(work_s=work_s, children=children, order=order, link=link)


def parents_of(dag: Dag) -> list[list[Edge]]:
    """Return [N] edges into each task, the lower parent first."""
    parents: list[list[Edge]] = [[] for _ in dag.children]
    for task, edges in enumerate(dag.children):
        for child, units, after_s in edges:
            parents[child].append(Edge(task, units, after_s))
    return parents


def transfer_seconds(dag: Dag, units: float, source: int, target: int) -> float:
    """Return the seconds to bring data from a device to another."""
    fixed_s, unit_s = dag.link[source][target]
    return fixed_s + unit_s * units


def _mean_delays(dag: Dag) -> Callable[[Edge], float]:
    """Return how long after one end of an edge the other may start, on average [s].

    The mean is over all pairs of different devices.
    """
    cells = [cell for a, row in enumerate(dag.link) for b, cell in enumerate(row) if a != b]
    fixed_s = sum(cell[0] for cell in cells) / max(len(cells), 1)
    unit_s = sum(cell[1] for cell in cells) / max(len(cells), 1)
    return lambda edge: fixed_s + unit_s * edge.units + edge.after_s


def _mean(values: Sequence[float]) -> float:
    """Return the mean over the devices that count, 0 if there are none."""
    finite = values if max(values) < inf else [value for value in values if value < inf]
    return sum(finite) / len(finite) if finite else 0.0


def upward_rank(dag: Dag) -> list[float]:
    """Return [N] seconds of the longest path from a task's start to the end, on average costs."""
    delay_s = _mean_delays(dag)
    rank = [0.0] * len(dag.work_s)
    for task in reversed(dag.order):
        below = [delay_s(edge) + rank[edge.task] for edge in dag.children[task]]
        rank[task] = _mean(dag.work_s[task]) + max(below, default=0.0)
    return rank


def downward_rank(dag: Dag) -> list[float]:
    """Return [N] seconds of the longest path from a root to a task's start, on average costs."""
    delay_s = _mean_delays(dag)
    rank, mean_s = [0.0] * len(dag.work_s), [_mean(row) for row in dag.work_s]
    for task in dag.order:
        through_s = rank[task] + mean_s[task]
        for edge in dag.children[task]:
            rank[edge.task] = max(rank[edge.task], through_s + delay_s(edge))
    return rank


def optimistic_cost(dag: Dag) -> list[list[float]]:
    """Return [N][D] seconds from a task's end on a device to the end, at best.

    Children each on the device that is best for them, data at the mean cost, no device busy.
    """
    delay_s = _mean_delays(dag)
    table = [[0.0] * dag.devices for _ in dag.work_s]
    through = table.copy()  # from a task's start on a device to the end
    for task in reversed(dag.order):
        row = table[task]
        for edge in dag.children[task]:
            below = through[edge.task]
            elsewhere_s, after_s = min(below) + delay_s(edge), edge.after_s
            if elsewhere_s < inf:  # conditionals in place of min and max: three times as quick
                here = [here_s + after_s for here_s in below] if after_s else below
                best = [there if there < elsewhere_s else elsewhere_s for there in here]
                row = [old if old > new else new for old, new in zip(row, best, strict=True)]
        table[task] = row
        through[task] = [own + rest for own, rest in zip(dag.work_s[task], row, strict=True)]
    return table


def heft(dag: Dag) -> Preference:
    """Longest path to the end first, each task where it ends first."""
    return Preference(upward_rank(dag), None)


def critical_path(dag: Dag, priority: list[float]) -> list[int]:
    """Return the path of highest rank sum, from the root that has it down to a sink.

    Every task on it has the same sum, up to rounding; the lowest index among equals.
    """
    inner = {edge.task for edges in dag.children for edge in edges}
    roots = [task for task in dag.order if task not in inner]
    if not roots:
        return []
    path = [min(roots, key=lambda task: (-priority[task], task))]
    while dag.children[path[-1]]:
        below = [edge.task for edge in dag.children[path[-1]]]
        path.append(min(below, key=lambda task: (-priority[task], task)))
    return path


def cpop(dag: Dag) -> Preference:
    """Highest rank sum first; the critical path on the one device that is quickest at all of it.

    A task of the path that cannot run on that device goes where it ends first, like the others.
    """
    up, down = upward_rank(dag), downward_rank(dag)
    priority = [above + below for above, below in zip(up, down, strict=True)]
    path = critical_path(dag, priority)

    def cost(device: int) -> tuple[int, float, int]:
        own_s = [dag.work_s[task][device] for task in path]
        return own_s.count(inf), sum(s for s in own_s if s < inf), device

    home = min(range(dag.devices), key=cost)
    bias = [[0.0] * dag.devices for _ in dag.work_s]
    for task in path:
        if dag.work_s[task][home] < inf:
            bias[task] = [0.0 if device == home else inf for device in range(dag.devices)]
    return Preference(priority, bias)


def peft(dag: Dag) -> Preference:
    """Highest mean of the optimistic cost table first; lowest finish plus optimistic cost."""
    table = optimistic_cost(dag)
    rank = [
        _mean([below if own < inf else inf for own, below in zip(work, row, strict=True)])
        for work, row in zip(dag.work_s, table, strict=True)
    ]
    return Preference(rank, table)
