"""Greedy rules that see the execution state: what is resident, and what is cached."""

from dataclasses import dataclass

from fate.domain.plan import Memo, Plan, Search
from fate.domain.snapshot import Snapshot
from fate.policy.kernel.problem import Weights, plain
from fate.policy.kernel.reference_plans import (
    EFT,
    IDLE_AFFINITY,
    Rule,
    greedy,
    must_first,
    no_future,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class GreedyPolicy:
    """A rule of the kernel as a policy: no search, no horizon, nothing remembered."""

    name: str
    rule: Rule
    eager: bool = False

    def plan(self, snapshot: Snapshot, memo: Memo | None) -> Plan:
        """Build lists for every device, busy ones too."""
        del memo
        p = plain(snapshot, Weights(depth=0), lookahead=False)
        orders = must_first(p, greedy(p, no_future(p), self.rule))
        return Plan(
            policy=self.name,
            orders=tuple(tuple(snapshot.chunks[node] for node in order) for order in orders),
            search=Search(base=self.name, backend="reference"),
        )


def late_eft() -> GreedyPolicy:
    """Take chunks in upward-rank order, each to the device, busy or not, where it ends first.

    Source: earliest finish time with late binding; the finish includes loads, evictions and
    cached prefixes under the state that the list leaves behind. Rule: rank as in HEFT, lowest
    device index among equals; a chunk may wait for a busy device. Deviations: none.
    """
    return GreedyPolicy(name="late-eft", rule=EFT)


def idle_affinity() -> GreedyPolicy:
    """Let the device that is free first take the chunk that is cheapest to begin there.

    Source: our own, the simplest rule that uses the state. Rule: load + gathering + prefill of
    uncached tokens; arrival order among equals; devices by the time they are free, then index.
    Deviations: none. A busy device's list says what it takes if nothing changes until it is free.
    """
    return GreedyPolicy(name="idle-affinity", rule=IDLE_AFFINITY)
