"""The core's own policy: late-binding earliest finish, in rank order, over all devices.

Used while a plan is late or has failed. It may wait: a call that ends first behind the work of a
busy warm device stays for that device. While nothing runs every device is free now, so whatever
comes first can start: progress needs no further proof.
"""

from fate.domain.plan import Plan, Search
from fate.domain.snapshot import Snapshot
from fate.policy.kernel.problem import Weights, plain
from fate.policy.kernel.reference_plans import EFT, greedy, must_first, no_future


def greedy_plan(snapshot: Snapshot) -> Plan:
    """Return the plan of `late-eft` for a snapshot; chunks over their wait bound lead the lists."""
    p = plain(snapshot, Weights(depth=0), lookahead=False)
    orders = must_first(p.must_start, greedy(p, no_future(p), EFT))
    return Plan(
        policy="greedy",
        orders=tuple(tuple(snapshot.chunks[node] for node in order) for order in orders),
        search=Search(base="late-eft", backend="reference"),
    )
