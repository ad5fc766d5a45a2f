"""Batch-mode heuristics with late binding: which ready chunk is placed first, where it ends first.

Maheswaran, Ali, Siegel, Hensgen, Freund, "Dynamic matching and scheduling of a class of independent
tasks onto heterogeneous computing systems", HCW 1999; Ibarra and Kim, JACM 24(2), 1977.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import inf

from fate.domain.plan import Memo, Plan, Search
from fate.domain.snapshot import Snapshot
from fate.policy.kernel.problem import Plain, Weights, plain
from fate.policy.kernel.reference import Orders, appraise, benches, commit

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
    """Place the most urgent chunk where it ends first, under the state the lists leave behind."""

    name: str
    urgency: Urgency

    eager = False
    inline = True

    def plan(self, snapshot: Snapshot, memo: Memo | None) -> Plan:
        """Build lists for every device, busy ones too."""
        del memo
        p = plain(snapshot, Weights(depth=0), lookahead=False)
        return Plan(
            policy=self.name,
            orders=tuple(
                tuple(snapshot.chunks[node] for node in order) for order in self._orders(p)
            ),
            search=Search(base=self.name),
        )

    def _orders(self, p: Plain) -> Orders:
        state, orders = benches(p), [list[int]() for _ in range(p.devices)]

        def end_s(node: int, device: int) -> float:
            placed = appraise(p, state[device], device, node)
            return inf if placed is None else placed.finish_s

        ends = {node: [end_s(node, d) for d in range(p.devices)] for node in range(p.frontier)}
        while ends:
            urgent = self._most_urgent(ends)
            if urgent is None:
                break
            row = ends.pop(urgent)
            device = row.index(min(row))
            placed = appraise(p, state[device], device, urgent)
            assert placed is not None
            commit(p, state[device], urgent, placed)
            orders[device].append(urgent)
            for node, other in ends.items():
                other[device] = end_s(node, device)
        return orders

    def _most_urgent(self, ends: dict[int, list[float]]) -> int | None:
        """Return the most urgent chunk, the lower index among equals; None if none can run."""
        best, most = None, -inf
        for node, row in ends.items():
            possible = sorted([end for end in row if end < inf])
            if possible and (best is None or self.urgency(possible) > most):
                best, most = node, self.urgency(possible)
        return best


def min_min() -> BatchMode:
    """Place first what ends first.

    Source: Ibarra and Kim 1977; Maheswaran et al. 1999. Rule: of all ready chunks the one whose
    earliest finish is earliest, on that device; lower index among equals. Deviations: finish times
    include loads, evictions and cached prefixes; late binding.
    """
    return BatchMode(name="min-min", urgency=_soonest)


def max_min() -> BatchMode:
    """Place first what ends last even on its best device.

    Source: as `min_min`. Rule: of all ready chunks the one whose earliest finish is latest, on
    that device; lower index among equals. Deviations: as `min_min`.
    """
    return BatchMode(name="max-min", urgency=_latest)


def sufferage() -> BatchMode:
    """Place first what loses most when it does not get its best device.

    Source: Maheswaran et al. 1999. Rule: of all ready chunks the one with the largest difference
    between its second earliest and earliest finish; one device only counts as the largest.
    Deviations: one chunk is placed at a time, where the original lets chunks contend for each
    machine in rounds; finish times include loads, evictions and cached prefixes; late binding.
    """
    return BatchMode(name="sufferage", urgency=_suffers)
