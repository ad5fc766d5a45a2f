"""Batch-mode heuristics: which ready chunk is placed first, where it ends first.

Maheswaran, Ali, Siegel, Hensgen, Freund, "Dynamic matching and scheduling of a class of independent
tasks onto heterogeneous computing systems", HCW 1999; Ibarra and Kim, JACM 24(2), 1977. At each
mapping event every task that has not begun is mapped anew, so these bind late as published; what
they do not see there is the state that a task leaves behind. `-state` are the same with it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import inf

from fate.domain.plan import Memo, Plan, Search
from fate.domain.snapshot import Snapshot
from fate.policy.base import Lookahead
from fate.policy.kernel.backend import open_kernel
from fate.policy.kernel.problem import Plain, Weights, plain
from fate.policy.kernel.reference import Orders
from fate.policy.kernel.reference_plans import MAX_MIN, MIN_MIN, SUFFERAGE, Rule
from fate.policy.measures import Finish

#: Returns how urgent a chunk is, given its end on every device, soonest first [s].
Urgency = Callable[[list[float]], float]


def _soonest(ends_s: list[float]) -> float:
    return -ends_s[0]


def _latest(ends_s: list[float]) -> float:
    return ends_s[0]


def _suffers(ends_s: list[float]) -> float:
    """What the chunk loses on its second best device; without one, it goes first."""
    return ends_s[1] - ends_s[0] if len(ends_s) > 1 else inf


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchMode:
    """Place the most urgent chunk where it ends first, behind what is placed before it.

    The state that chunks leave behind is not seen.
    """

    name: str
    urgency: Urgency

    eager = False
    inline = True
    lookahead: Lookahead = "none"

    def plan(self, snapshot: Snapshot, memo: Memo | None) -> Plan:
        """Build lists for every device, busy ones too."""
        del memo
        p = plain(snapshot, Weights(depth=0), lookahead=False)
        return _named(self.name, snapshot, self._orders(p, Finish(snapshot, p, 0)), "")

    def _orders(self, p: Plain, finish: Finish) -> Orders:
        orders = [list[int]() for _ in range(p.devices)]
        ends = {
            node: [finish.end_s(node, d) for d in range(p.devices)] for node in range(p.frontier)
        }
        while ends:
            urgent = self._most_urgent(ends)
            if urgent is None:
                break
            row = ends.pop(urgent)
            device = row.index(min(row))
            finish.place(urgent, device)
            orders[device].append(urgent)
            for node, other in ends.items():
                other[device] = finish.end_s(node, device)
        return orders

    def _most_urgent(self, ends: dict[int, list[float]]) -> int | None:
        """Return the most urgent chunk, the lower index among equals; None if none can run."""
        best, most = None, -inf
        for node, row in ends.items():
            possible = sorted([end for end in row if end < inf])
            if possible and (best is None or self.urgency(possible) > most):
                best, most = node, self.urgency(possible)
        return best


def _named(name: str, snapshot: Snapshot, orders: Orders, backend: str) -> Plan:
    return Plan(
        policy=name,
        orders=tuple(tuple(snapshot.chunks[node] for node in order) for order in orders),
        search=Search(base=name, backend=backend),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchModeState:
    """The same rules under the state that the lists leave behind, which the kernel has."""

    name: str
    rule: Rule

    eager = False
    inline = False
    lookahead: Lookahead = "none"

    def plan(self, snapshot: Snapshot, memo: Memo | None) -> Plan:
        """Build lists for every device, busy ones too."""
        del memo
        if not snapshot.frontier:
            return _named(self.name, snapshot, [[] for _ in range(snapshot.devices)], "")
        kernel = open_kernel(snapshot, Weights(depth=0))
        return _named(self.name, snapshot, kernel.greedy(self.rule), kernel.name)


def min_min() -> BatchMode:
    """Place first what ends first.

    Source: Ibarra and Kim 1977; Maheswaran et al. 1999. Rule: of all ready chunks the one whose
    earliest finish is earliest, on that device; lower index among equals. Execution times are a
    fixed table of compute, to which the transfer is added; what has not begun is mapped anew.
    Deviations: mapping events are those of the core, in place of regular intervals; of more ready
    chunks than a frontier holds, those in the frontier.
    """
    return BatchMode(name="min-min", urgency=_soonest)


def max_min() -> BatchMode:
    """Place first what ends last even on its best device.

    Source: as `min_min`. Rule: of all ready chunks the one whose earliest finish is latest, on
    that device; lower index among equals; otherwise as `min_min`. Deviations: as `min_min`.
    """
    return BatchMode(name="max-min", urgency=_latest)


def sufferage() -> BatchMode:
    """Place first what loses most when it does not get its best device.

    Source: Maheswaran et al. 1999. Rule: of all ready chunks the one with the largest difference
    between its second earliest and earliest finish; one device only counts as the largest;
    otherwise as `min_min`. Deviations: one chunk is placed at a time, where the original lets
    chunks contend for each machine in rounds; otherwise as `min_min`.
    """
    return BatchMode(name="sufferage", urgency=_suffers)


def min_min_state() -> BatchModeState:
    """Place first what ends first, loads and hits included.

    Source: as `min_min`. Rule: as there. Deviations: finish times include loads, evictions and
    cached prefixes under the state that the lists leave behind, which is ours; otherwise as there.
    """
    return BatchModeState(name="min-min-state", rule=MIN_MIN)


def max_min_state() -> BatchModeState:
    """Place first what ends last even on its best device, loads and hits included.

    Source: as `max_min`. Rule: as there. Deviations: finish times include loads, evictions and
    cached prefixes under the state that the lists leave behind, which is ours; otherwise as there.
    """
    return BatchModeState(name="max-min-state", rule=MAX_MIN)


def sufferage_state() -> BatchModeState:
    """Place first what loses most when it does not get its best device, loads and hits included.

    Source: as `sufferage`. Rule: as there. Deviations: finish times include loads, evictions and
    cached prefixes under the state that the lists leave behind, which is ours; otherwise as there.
    """
    return BatchModeState(name="sufferage-state", rule=SUFFERAGE)
