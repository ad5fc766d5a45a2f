"""Greedy rules that see the execution state: what is resident, and what is cached."""

from math import inf

import msgspec

from fate.cost.terms import prefill_seconds
from fate.domain.plan import Memo, Plan, Search
from fate.domain.snapshot import Snapshot
from fate.policy.base import Lookahead
from fate.policy.greedy import greedy_plan
from fate.policy.kernel.problem import Plain, Weights, plain
from fate.policy.kernel.reference import appraise, commit
from fate.policy.kernel.reference_state import Bench, Placement
from fate.policy.listing import ListPolicy, arrival
from fate.policy.measures import StateFinish


class LateEft:
    """Take chunks in upward-rank order, each to the device, busy or not, where it ends first.

    Source: earliest finish time with late binding; the finish includes loads, evictions and
    cached prefixes under the state that the list leaves behind. Rule: rank as in HEFT, lowest
    device index among equals; a chunk may wait for a busy device. Deviations: none. The core
    falls back on the same plan, `fate.policy.greedy`.
    """

    name = "late-eft"
    eager = False
    lookahead: Lookahead = "none"
    inline = True

    def plan(self, snapshot: Snapshot, memo: Memo | None) -> Plan:
        """Build lists for every device, busy ones too."""
        del memo
        return msgspec.structs.replace(greedy_plan(snapshot), policy=self.name)


def eft() -> ListPolicy:
    """Bind each chunk on arrival to the device where it ends first, loads and hits included.

    Source: minimum completion time, the immediate mode of Maheswaran, Ali, Siegel, Hensgen,
    Freund, HCW 1999. Rule: arrival order; earliest finish under the state that the lists leave
    behind; final. Deviations: the finish includes loads, evictions and cached prefixes, where the
    original has a fixed table of execution times.
    """
    return ListPolicy(name="eft", rank=arrival, measure=StateFinish, binding="immediate")


class IdleAffinity:
    """Let an idle device take the ready chunk that is cheapest to begin there.

    Source: our own, the simplest rule that uses the state. Rule: seconds of unloading, loading,
    gathering and prefill of uncached tokens; arrival order among equals; devices by index, once
    for each free slot; nothing waits for a busy device. Deviations: of more ready chunks than a
    frontier holds, the cheapest in the frontier.
    """

    name = "idle-affinity"
    eager = False
    lookahead: Lookahead = "none"
    inline = True

    def plan(self, snapshot: Snapshot, memo: Memo | None) -> Plan:
        """Fill the free slots of the idle devices."""
        del memo
        p = plain(snapshot, Weights(depth=0), lookahead=False)
        left = list(range(p.frontier))
        orders: list[tuple[int, ...]] = [()] * p.devices
        for device in snapshot.idle():
            orders[device] = _take(p, device, left)
        return Plan(
            policy=self.name,
            orders=tuple(tuple(snapshot.chunks[node] for node in order) for order in orders),
            search=Search(base=self.name),
        )


def _take(p: Plain, device: int, left: list[int]) -> tuple[int, ...]:
    """Remove from `left` what the device's free slots take, and return it."""
    bench, taken = Bench(p, device), list[int]()
    for _ in range(sum(at_s <= p.now_s for at_s in p.free_at_s[device])):
        best_s, best = inf, None
        for node in left:
            placed = appraise(p, bench, device, node)
            if placed is not None and (price_s := _begin_seconds(p, device, node, placed)) < best_s:
                best_s, best = price_s, (node, placed)
        if best is None:
            break
        commit(p, bench, *best)
        left.remove(best[0])
        taken.append(best[0])
    return tuple(taken)


def _begin_seconds(p: Plain, device: int, node: int, placed: Placement) -> float:
    """Return the seconds before the first token of a placement."""
    unload_s, load_s, transfer_s, _ = placed.terms
    new = p.first_tokens[node] - placed.cached
    return (
        unload_s
        + load_s
        + transfer_s
        + prefill_seconds(new, placed.cached, *p.prefill[device][p.model[node]])
    )
